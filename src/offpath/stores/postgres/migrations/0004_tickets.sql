-- What opens one operation's stream once, for clients that cannot send a header (docs/decisions/0021). Stored hashed:
-- who reads this table can open nothing.

create table offpath_ticket (
    hash       text collate "C" primary key,
    operation  uuid not null,
    tenant     text collate "C" not null,
    owner      text collate "C" not null,
    expires_at bigint not null
);
create index offpath_ticket_expiry on offpath_ticket (expires_at);

-- Whose live operations: counted when a caller's share of them may be used up.
create index offpath_job_owner on offpath_job (owner) where watched = 1;
