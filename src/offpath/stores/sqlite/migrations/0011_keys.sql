-- A key has one holder, and at most one job behind it, which waits for the holder's end (docs/decisions/0031).

alter table offpath_job add column behind integer not null default 0;
drop index offpath_job_key;
create unique index offpath_job_key on offpath_job (task, key, behind) where key is not null;
create index offpath_job_behind on offpath_job (task, key) where behind = 1;

-- However the holder ends: the one behind it has the key then. The next claim looks at its time.
create trigger free_key after delete on offpath_job when old.key is not null and old.behind = 0 begin
    update offpath_job set behind = 0, state = 0 where task = old.task and key = old.key and behind = 1;
end;

-- When a throttled key may run again.
create table offpath_window (
    task    text not null,
    key     text not null,
    free_at integer not null,
    primary key (task, key)
);
create index offpath_window_free on offpath_window (free_at);
