-- Who has done what, written in the transaction of what it tells of (docs/decisions/0037).

create table offpath_audit (
    id     text primary key not null,      -- of the moment, so that they sort by it
    at     integer not null,
    actor  text not null,
    action text not null,                  -- see core/audit.py
    target text not null,
    data   text not null                   -- a JSON object
) without rowid;
create index offpath_audit_actor on offpath_audit (actor, id);
create index offpath_audit_action on offpath_audit (action, id);
create index offpath_audit_target on offpath_audit (target, id);
