-- What runs again and again. One row each: the next tick advances in the transaction that inserts the job of this one
-- (docs/decisions/0028).

create table offpath_schedule (
    name       text collate "C" primary key,
    spec       text not null,              -- JSON: when
    task       text collate "C" not null,
    call       text not null,              -- JSON: what each tick enqueues
    overlap    text collate "C" not null,
    declared   text not null,              -- JSON array: marks of its declarations in code, the one in force first
    anchor     bigint not null,            -- what an interval counts from
    next_at    bigint,                     -- null: there is no further tick
    paused     smallint not null,
    revision   bigint not null,
    last_tick  bigint,
    last_job   uuid,
    last_at    bigint,
    skipped    bigint not null,
    created_at bigint not null,
    updated_at bigint not null
);
create index offpath_schedule_next on offpath_schedule (next_at) where paused = 0 and next_at is not null;
