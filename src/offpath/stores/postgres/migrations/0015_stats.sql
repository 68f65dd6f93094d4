-- What workers count of the attempts that end, and how full queues were (docs/decisions/0038).

-- Of one task in one queue: of one process in the minute that begins `at` (µs), or of all in a minute (worker '+'), in
-- five (worker '') or in an hour (worker '-'). What was added up has one more row for each queue (task '')
-- and one for all (queue '', task '').
create table offpath_stat (
    at        bigint not null,
    queue     text collate "C" not null,
    task      text collate "C" not null,
    worker    text collate "C" not null,
    succeeded bigint not null,
    failed    bigint not null,
    canceled  bigint not null,
    retried   bigint not null,
    waited    bigint not null,             -- sums, µs
    ran       bigint not null,
    wait      text not null,               -- histograms, JSON: {bucket: how many}
    run       text not null,
    primary key (at, queue, task, worker)
) with (fillfactor = 70);

-- A minute of a queue, as one of the workers saw it.
create table offpath_sample (
    at      bigint not null,
    queue   text collate "C" not null,
    ready   bigint not null,
    running bigint not null,
    oldest  bigint,                        -- µs that the oldest ready job had waited
    primary key (at, queue)
);

-- What a worker says of itself, and what it holds. Those of older versions say nothing.
alter table offpath_worker add column about text, add column load text;

-- Jobs for later are counted by queue.
create index offpath_job_later on offpath_job (queue, state) where state < 2;
create index offpath_stat_raw on offpath_stat (at) where worker > '-';
create index offpath_stat_minute on offpath_stat (at) where worker = '+';
create index offpath_stat_five on offpath_stat (at) where worker = '';
create index offpath_stat_all on offpath_stat (queue, at) where task = '';
