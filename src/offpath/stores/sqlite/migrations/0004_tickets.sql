-- What opens one operation's stream once, for clients that cannot send a header (docs/decisions/0021). Stored hashed:
-- who reads this table can open nothing.

create table offpath_ticket (
    hash       text primary key not null,
    operation  text not null,
    tenant     text not null,
    owner      text not null,
    expires_at integer not null
) without rowid;
create index offpath_ticket_expiry on offpath_ticket (expires_at);

-- Whose live operations: counted when a caller's share of them may be used up.
create index offpath_job_owner on offpath_job (owner) where watched = 1;
