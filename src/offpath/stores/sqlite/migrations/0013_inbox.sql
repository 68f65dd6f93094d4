-- Messages of brokers that have become jobs (docs/decisions/0034).

-- What is known when it comes again: at most one job of a task for each (source, id).
create table offpath_inbox (
    task       text not null,
    source     text not null,
    id         text not null,
    job        text not null,
    at         integer not null,
    expires_at integer not null,
    primary key (task, source, id)
) without rowid;
create index offpath_inbox_expiry on offpath_inbox (expires_at);

-- Messages that could not be read, as they came; kept as long as the newest job that has read them.
create table offpath_letter (
    id      text primary key not null,     -- of the first such job
    job     text not null,                 -- the newest
    task    text not null,                 -- whose arguments it would not be; '': nobody's
    kind    text not null,
    source  text not null,
    place   text not null,
    body    blob not null,                 -- of one that is too large, the first part
    size    integer not null,
    digest  text not null,
    message text not null,
    at      integer not null,
    look_at integer not null               -- when upkeep looks whether the job is still there
);
create index offpath_letter_job on offpath_letter (job);
create index offpath_letter_look on offpath_letter (look_at);

-- Jobs of one line run one after the other: the first is as any other job, those behind it wait.
alter table offpath_job add column line text;
alter table offpath_job add column place integer;
create index offpath_job_line on offpath_job (line, place) where line is not null;
create index offpath_job_in_line on offpath_job (line) where line is not null and state = 1;
create index offpath_job_in_line_queue on offpath_job (queue) where line is not null and state = 1;

-- However a job ends: whoever is the first of its line then need not wait. The next claim looks at its time.
create trigger free_line after delete on offpath_job when old.line is not null begin
    update offpath_job set state = 0
    where id = (select id from offpath_job where line = old.line order by place limit 1) and state = 1;
end;
