-- Requests that carried an Idempotency-Key, and what they were answered. While `status` is null one is being worked on:
-- inside the transaction that wrote the row, or by `holder` until `leased_until`.
create table offpath_idempotency (
    scope        text collate "C" not null,   -- whose key it is: JSON array of tenant and caller
    key          text collate "C" not null,
    fingerprint  text not null,               -- SHA-256 of the request, hexadecimal
    status       integer,
    headers      text,                        -- JSON array of [name, value]
    body         text,                        -- base64
    operation    uuid,                        -- the operation that the answer is about
    holder       text not null,
    fence        integer not null,
    leased_until bigint,
    expires_at   bigint not null,
    primary key (scope, key)
);
create index offpath_idempotency_expiry on offpath_idempotency (expires_at);
