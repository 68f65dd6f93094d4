-- Queues that somebody has paused, alerts, and which dead letters have been run again.

create table offpath_queue (
    name      text primary key not null,
    paused_at integer,                     -- nothing is claimed from it since then
    reason    text not null default ''
) without rowid;

create table offpath_alert (
    name      text primary key not null,
    seq       integer not null,            -- grows with each change: of two who see the same, one tells of it
    raised_at integer,                     -- null: all is well
    value     integer not null             -- that it was told with
) without rowid;

alter table offpath_history add column retried_as text;   -- the newest job that runs it again

-- What failed lately: counted by alerts.
create index offpath_history_failing on offpath_history (finished_at) where outcome = 5;
