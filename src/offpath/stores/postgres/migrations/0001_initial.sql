-- The live table is small and hot; what has ended moves to history in the statement that ends it.
-- Ids are UUIDv7, times are µs since the epoch, JSON is text: the same values as on SQLite, byte for byte.

create table offpath_home (
    id uuid not null                       -- random: tells this home of jobs from every other
);
insert into offpath_home (id) values (gen_random_uuid());

create table offpath_worker (
    id         text collate "C" primary key,
    expires_at bigint not null,
    lapsed_at  bigint,                     -- the verdict: dead for good
    tasks      text not null,              -- JSON array of what it may claim: "task@version"
    label      text not null
) with (fillfactor = 50);

create table offpath_job (
    id        uuid primary key,
    task      text collate "C" not null,
    version   integer not null,
    args      text not null,
    queue     text collate "C" not null,
    priority  integer not null,
    state     smallint not null check (state in (0, 1, 2, 3)),   -- scheduled waiting ready running
    run_at    bigint not null,
    deadline  bigint,
    key       text collate "C",
    attempt   integer not null,
    crashes   integer not null,
    fence     bigint not null,
    worker    text collate "C",
    cancel_at bigint,
    cancel_reason text,                    -- of whoever asked the running job to stop
    once      smallint not null,
    watched   smallint not null,
    owner     text,
    options   text,
    retry_of  uuid,
    check ((state = 3) = (worker is not null))
) with (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000,
    autovacuum_vacuum_cost_delay = 0
);
-- Ready jobs are in one of two: those that may be fetched ahead, and the delicate, which come only into free slots.
create index offpath_job_ready on offpath_job (queue, priority, run_at, id)
    where state = 2 and once = 0 and crashes = 0;
create index offpath_job_delicate on offpath_job (queue, priority, run_at, id)
    where state = 2 and (once = 1 or crashes > 0);
create index offpath_job_due on offpath_job (run_at) where state = 0;
create unique index offpath_job_key on offpath_job (task, key) where key is not null;
create index offpath_job_deadline on offpath_job (deadline) where deadline is not null and state <> 3;
create index offpath_job_canceling on offpath_job (worker) where cancel_at is not null and state = 3;

create table offpath_history (
    id          uuid not null,
    expires_on  date not null,             -- UTC; 9999-12-31 = never
    outcome     smallint not null check (outcome in (4, 5, 6)),   -- succeeded failed canceled
    task        text collate "C" not null,
    version     integer not null,
    args        text,
    queue       text collate "C" not null,
    priority    integer not null,
    run_at      bigint not null,
    key         text collate "C",
    attempt     integer not null,
    crashes     integer not null,
    fence       bigint not null,
    once        smallint not null,
    watched     smallint not null,
    owner       text,
    options     text,
    retry_of    uuid,
    result      text,
    error       text,
    finished_at bigint not null,
    expires_at  bigint,
    primary key (id, expires_on)
) partition by range (expires_on);
create index offpath_history_failed on offpath_history (id) where outcome = 5;
-- What is kept for less than a day goes row by row, the rest with its partition.
create index offpath_history_brief on offpath_history (expires_at) where expires_at - finished_at < 86400000000;
create table offpath_history_never partition of offpath_history for values from ('9999-12-31') to (maxvalue);

create table offpath_operation (
    id          uuid primary key,
    tenant      text collate "C" not null,
    owner       text collate "C" not null,
    kind        text not null,
    label       text not null,
    status      smallint not null,         -- the job's state
    cancel_at   bigint,
    seq         integer not null,          -- of its newest event; also its ETag
    progress    text,
    created_at  bigint not null,
    updated_at  bigint not null,
    started_at  bigint,
    finished_at bigint,
    expires_at  bigint,
    expired     smallint not null default 0   -- 1: a tombstone
) with (fillfactor = 70);
create index offpath_operation_list on offpath_operation (tenant, owner, id);
create index offpath_operation_expiry on offpath_operation (expired, expires_at) where expires_at is not null;

create table offpath_event (
    job  uuid not null,
    seq  integer not null,
    type text not null,
    at   bigint not null,
    data text not null,
    primary key (job, seq)
);
