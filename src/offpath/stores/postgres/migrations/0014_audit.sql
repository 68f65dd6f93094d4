-- Who has done what, written in the transaction of what it tells of (docs/decisions/0037).

create table offpath_audit (
    id     uuid primary key,               -- of the moment, so that they sort by it
    at     bigint not null,
    actor  text collate "C" not null,
    action text collate "C" not null,      -- see core/audit.py
    target text collate "C" not null,
    data   text not null                   -- a JSON object
);
create index offpath_audit_actor on offpath_audit (actor, id);
create index offpath_audit_action on offpath_audit (action, id);
create index offpath_audit_target on offpath_audit (target, id);
