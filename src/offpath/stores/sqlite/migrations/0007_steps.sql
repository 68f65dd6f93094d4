-- What a job has done and need not do again (docs/decisions/0026). Steps outlive their job for as long as history has
-- it: `look_at` is when upkeep looks whether it still does.

create table offpath_step (
    job      text not null,
    name     text not null,
    position integer not null,             -- in the task's order; 0: it has none
    version  integer not null,             -- of the step
    task     integer not null,             -- version of the task that remembered it
    result   text not null,
    at       integer not null,
    look_at  integer not null,
    primary key (job, name)
);
create index offpath_step_look on offpath_step (look_at);
