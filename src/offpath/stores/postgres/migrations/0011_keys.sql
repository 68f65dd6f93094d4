-- A key has one holder, and at most one job behind it, which waits for the holder's end (docs/decisions/0031).

alter table offpath_job add column behind smallint not null default 0;
drop index offpath_job_key;
create unique index offpath_job_key on offpath_job (task, key, behind) where key is not null;
create index offpath_job_behind on offpath_job (task, key) where behind = 1;

-- However the holder ends: the one behind it has the key then. The next claim looks at its time. One that is in somebody's
-- open transaction at this moment is not waited for; upkeep finds it (sql/keys.sql, `stranded`).
create function offpath_free_key() returns trigger language plpgsql as $$
begin
    update offpath_job set behind = 0, state = 0
    where id = (select id from offpath_job where task = old.task and key = old.key and behind = 1
                for update skip locked);
    return null;
end $$;
create trigger free_key after delete on offpath_job for each row
    when (old.key is not null and old.behind = 0) execute function offpath_free_key();

-- When a throttled key may run again.
create table offpath_window (
    task    text collate "C" not null,
    key     text collate "C" not null,
    free_at bigint not null,
    primary key (task, key)
);
create index offpath_window_free on offpath_window (free_at);
