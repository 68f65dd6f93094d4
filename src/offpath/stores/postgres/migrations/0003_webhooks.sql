-- Webhooks: who wants to hear of what (endpoints), each event on its way to one of them (deliveries, every one of which
-- is also a job), and what became of every attempt. Secrets are sealed with a key that is not in the database.

create table offpath_endpoint (
    id            uuid primary key,
    tenant        text collate "C" not null,
    owner         text collate "C" not null,
    url           text not null,
    description   text not null,
    events        text not null,           -- JSON array of event types
    secrets       text not null,           -- sealed: [[secret, when it stops signing or null], …], newest first
    headers       text,                    -- sealed: what else its owner wants sent
    enabled       smallint not null,
    reason        text,                    -- why it is disabled
    failing_since bigint,                  -- the first failure after the last success
    not_before    bigint,                  -- the receiver said Retry-After
    width         smallint not null,       -- deliveries at once
    created_at    bigint not null,
    updated_at    bigint not null
);
create index offpath_endpoint_owner on offpath_endpoint (tenant, owner, id);

-- The default secret of a tenant signs what goes to callback URLs.
create table offpath_signer (
    tenant   text collate "C" primary key,
    secrets  text not null,                -- sealed, as an endpoint's
    shown    smallint not null             -- once, to whoever asked first
);

create table offpath_delivery (
    id          uuid primary key,
    message     text not null,             -- the webhook-id: the same for all attempts, and when it is sent again
    job         uuid not null,             -- that sends it now, or did last
    endpoint    uuid,                      -- null: the callback URL of its operation
    operation   uuid,
    event       text not null,
    sequence    integer not null,
    body        text,                      -- of events that are not an operation's: their data
    state       smallint not null check (state in (0, 1, 2, 3)),   -- pending delivered failed canceled
    attempts    integer not null,
    round       integer not null,          -- attempts made before it was last sent again
    next_at     bigint,                    -- no attempt before
    created_at  bigint not null
);
create index offpath_delivery_endpoint on offpath_delivery (endpoint, id);
create index offpath_delivery_pending on offpath_delivery (endpoint) where state = 0;
create index offpath_delivery_operation on offpath_delivery (operation) where operation is not null;
create index offpath_delivery_age on offpath_delivery (created_at);

create table offpath_attempt (
    id       uuid primary key,
    delivery uuid not null,
    endpoint uuid,
    number   integer not null,
    at       bigint not null,
    status   bigint,
    latency  bigint not null,              -- µs
    error    text,
    snippet  text not null
);
create index offpath_attempt_endpoint on offpath_attempt (endpoint, id);
create index offpath_attempt_delivery on offpath_attempt (delivery, id);
