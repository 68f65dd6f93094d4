-- Requests that carried an Idempotency-Key, and what they were answered. While `status` is null one is being worked on:
-- inside the transaction that wrote the row, or by `holder` until `leased_until`.
create table offpath_idempotency (
    scope        text not null,            -- whose key it is: JSON array of tenant and caller
    key          text not null,
    fingerprint  text not null,            -- SHA-256 of the request, hexadecimal
    status       integer,
    headers      text,                     -- JSON array of [name, value]
    body         text,                     -- base64
    operation    text,                     -- the operation that the answer is about
    holder       text not null,
    fence        integer not null,
    leased_until integer,
    expires_at   integer not null,
    primary key (scope, key)
);
create index offpath_idempotency_expiry on offpath_idempotency (expires_at);
