-- One narrow row per worker process. Death is a verdict written on it, never a moment in time: a worker that was late
-- but not judged may still renew. The clock is read where the row is written.

-- name: register
insert into offpath_worker (id, expires_at, lapsed_at, tasks, label)
values (cast(:worker as text), cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) + cast(:length as bigint), null, cast(:tasks as text), cast(:label as text))

-- name: renew
update offpath_worker set expires_at = cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) + cast(:length as bigint)
where id = cast(:worker as text) and lapsed_at is null

-- name: alive
select 1 from offpath_worker where id = cast(:worker as text) and lapsed_at is null

-- name: judge
update offpath_worker set lapsed_at = cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)
where id = any(array(select id from offpath_worker where lapsed_at is null
                     and expires_at <= cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) for update skip locked))

-- name: lapsed
select id from offpath_worker where lapsed_at is not null order by id

-- name: known
select distinct tasks from offpath_worker where lapsed_at is null

-- name: resign
update offpath_worker set lapsed_at = cast(extract(epoch from clock_timestamp()) * 1000000 as bigint), expires_at = cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)
where id = cast(:worker as text) and lapsed_at is null

-- name: gone
delete from offpath_worker
where id = cast(:worker as text) and lapsed_at is not null
  and not exists (select 1 from offpath_job where state = 3 and worker = cast(:worker as text))
