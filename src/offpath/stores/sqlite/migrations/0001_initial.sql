-- The live table is small and hot; what has ended moves to history in the transaction that ends it.
-- Ids are UUIDv7 text, times are µs since the epoch, JSON is text.

create table offpath_worker (
    id         text primary key not null,
    expires_at integer not null,
    lapsed_at  integer,                    -- the verdict: dead for good
    tasks      text not null,              -- JSON array of what it may claim: "task@version"
    label      text not null
);

create table offpath_job (
    id        text primary key not null,
    task      text not null,
    version   integer not null,
    args      text not null,
    queue     text not null,
    priority  integer not null,
    state     integer not null check (state in (0, 1, 2, 3)),   -- scheduled waiting ready running
    run_at    integer not null,
    deadline  integer,
    key       text,
    attempt   integer not null,
    crashes   integer not null,
    fence     integer not null,
    worker    text,
    cancel_at integer,
    cancel_reason text,                    -- of whoever asked the running job to stop
    once      integer not null,
    watched   integer not null,
    owner     text,
    options   text,
    retry_of  text,
    check ((state = 3) = (worker is not null))
);
create index offpath_job_ready on offpath_job (queue, priority, run_at) where state = 2;
create index offpath_job_due on offpath_job (run_at) where state = 0;
create unique index offpath_job_key on offpath_job (task, key) where key is not null;
create index offpath_job_deadline on offpath_job (deadline) where deadline is not null and state <> 3;
create index offpath_job_canceling on offpath_job (worker) where cancel_at is not null and state = 3;

create table offpath_history (
    id          text primary key not null,
    outcome     integer not null check (outcome in (4, 5, 6)),   -- succeeded failed canceled
    task        text not null,
    version     integer not null,
    args        text,
    queue       text not null,
    priority    integer not null,
    run_at      integer not null,
    key         text,
    attempt     integer not null,
    crashes     integer not null,
    fence       integer not null,
    once        integer not null,
    watched     integer not null,
    owner       text,
    options     text,
    retry_of    text,
    result      text,
    error       text,
    finished_at integer not null,
    expires_at  integer
);  -- with a rowid: rows are appended, and the indexes stay narrow (docs/decisions/0008)
create index offpath_history_expiry on offpath_history (expires_at) where expires_at is not null;
create index offpath_history_failed on offpath_history (id) where outcome = 5;

create table offpath_operation (
    id          text primary key not null,
    tenant      text not null,
    owner       text not null,
    kind        text not null,
    label       text not null,
    status      integer not null,          -- the job's state
    cancel_at   integer,
    seq         integer not null,          -- of its newest event; also its ETag
    progress    text,
    created_at  integer not null,
    updated_at  integer not null,
    started_at  integer,
    finished_at integer,
    expires_at  integer,
    expired     integer not null default 0 -- a tombstone
);
create index offpath_operation_list on offpath_operation (tenant, owner, id);
create index offpath_operation_expiry on offpath_operation (expires_at) where expires_at is not null;

create table offpath_event (
    job  text not null,
    seq  integer not null,
    type text not null,
    at   integer not null,
    data text not null,
    primary key (job, seq)
) without rowid;

-- What `enqueue` writes, as one row: a job, and for a watched one its operation and first event. One statement for many
-- jobs, in all three tables, is one turn with the interpreter's lock (docs/decisions/0015); a job whose key is taken by a
-- live job is left out whole.
create view offpath_enqueue as
select id, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence, once, watched,
       owner, options, retry_of, null as tenant, null as seen_by, null as kind, null as label, null as type, null as data,
       null as now
from offpath_job;

create trigger offpath_enqueue_insert instead of insert on offpath_enqueue begin
    insert into offpath_job (id, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes,
                             fence, once, watched, owner, options, retry_of)
    values (new.id, new.task, new.version, new.args, new.queue, new.priority, new.state, new.run_at, new.deadline,
            new.key, new.attempt, new.crashes, new.fence, new.once, new.watched, new.owner, new.options, new.retry_of)
    on conflict do nothing;
    insert into offpath_operation (id, tenant, owner, kind, label, status, seq, created_at, updated_at)
    select new.id, new.tenant, new.seen_by, new.kind, new.label, new.state, 1, new.now, new.now
    where new.watched and changes() > 0                -- of the statement before: whether the job went in
    on conflict do nothing;
    insert into offpath_event (job, seq, type, at, data)
    select new.id, 1, new.type, new.now, new.data
    where new.watched and changes() > 0;
end;
