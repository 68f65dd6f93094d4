-- What runs again and again. One row each: the next tick advances in the transaction that inserts the job of this one
-- (docs/decisions/0028).

create table offpath_schedule (
    name       text primary key not null,
    spec       text not null,              -- JSON: when
    task       text not null,
    call       text not null,              -- JSON: what each tick enqueues
    overlap    text not null,
    declared   text not null,              -- JSON array: marks of its declarations in code, the one in force first
    anchor     integer not null,           -- what an interval counts from
    next_at    integer,                    -- null: there is no further tick
    paused     integer not null,
    revision   integer not null,
    last_tick  integer,
    last_job   text,
    last_at    integer,
    skipped    integer not null,
    created_at integer not null,
    updated_at integer not null
);
create index offpath_schedule_next on offpath_schedule (next_at) where paused = 0 and next_at is not null;
