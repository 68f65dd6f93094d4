-- Queues that somebody has paused, alerts, and which dead letters have been run again.

create table offpath_queue (
    name      text collate "C" primary key,
    paused_at bigint,                      -- nothing is claimed from it since then
    reason    text not null default ''
);

create table offpath_alert (
    name      text collate "C" primary key,
    seq       integer not null,            -- grows with each change: of two who see the same, one tells of it
    raised_at bigint,                      -- null: all is well
    value     bigint not null              -- that it was told with
);

alter table offpath_history add column retried_as uuid;   -- the newest job that runs it again

-- What failed lately: counted by alerts.
create index offpath_history_failing on offpath_history (finished_at) where outcome = 5;
