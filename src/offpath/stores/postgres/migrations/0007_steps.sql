-- What a job has done and need not do again (docs/decisions/0026). Steps outlive their job for as long as history has
-- it: `look_at` is when upkeep looks whether it still does.

create table offpath_step (
    job      uuid not null,
    name     text collate "C" not null,
    position integer not null,             -- in the task's order; 0: it has none
    version  smallint not null,            -- of the step
    task     smallint not null,            -- version of the task that remembered it
    result   text not null,
    at       bigint not null,
    look_at  bigint not null,
    primary key (job, name)
);
create index offpath_step_look on offpath_step (look_at);
