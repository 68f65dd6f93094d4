-- Attempts of jobs that did not succeed (docs/decisions/0038). A job that succeeds at once has none. (`offpath_attempt` is
-- of webhooks.)

create table offpath_job_attempt (
    job        text not null,
    fence      integer not null,
    attempt    integer not null,
    worker     text,
    label      text,                       -- of the worker, whose own row may be gone
    started_at integer,
    ended_at   integer not null,
    ended      text not null,              -- errored timeout crashed canceled interrupted
    error      text,
    look_at    integer not null,           -- when upkeep looks whether the job is still there
    primary key (job, fence)
);
create index offpath_job_attempt_look on offpath_job_attempt (look_at);
