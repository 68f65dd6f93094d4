-- What a job has done, remembered under the fence: a late attempt remembers nothing.
-- steps: [name, position, version, task, result]

-- name: remember
-- FOR SHARE: with less, a late write could land after a new claim.
with held as materialized (
    select id, cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) as now from offpath_job
    where id = cast(:id as uuid) and fence = cast(:fence as bigint) and worker = cast(:worker as text) and state = 3
    for share
),
written as (
    insert into offpath_step (job, name, position, version, task, result, at, look_at)
    select h.id, s ->> 0, cast(s ->> 1 as integer), cast(s ->> 2 as smallint), cast(s ->> 3 as smallint), s ->> 4,
           h.now, h.now + cast(:look as bigint)
    from held h cross join jsonb_array_elements(cast(cast(:steps as text) as jsonb)) s
    on conflict (job, name) do update
    set position = excluded.position, version = excluded.version, task = excluded.task, result = excluded.result,
        at = excluded.at, look_at = excluded.look_at
    returning 1
)
select count(*) from written

-- name: remembered
select name, position, version, task from offpath_step where job = cast(:id as uuid)

-- name: result
select result from offpath_step where job = cast(:id as uuid) and name = cast(:name as text)

-- name: list
select name, position, version, at, result from offpath_step
where job = cast(:id as uuid) order by at, position, name limit cast(:limit as bigint)

-- name: erase
delete from offpath_step where job = cast(:id as uuid)

-- name: forget
-- Of those that are due for a look: gone with their job, or kept until history forgets it, or for another hour.
with due as materialized (
    select job, name from offpath_step where look_at <= cast(:now as bigint)
    order by look_at limit cast(:limit as bigint) for update skip locked
),
fate as materialized (
    select d.job, d.name,
           (select h.expires_at from offpath_history h where h.id = d.job limit 1) as expires_at,
           exists (select 1 from offpath_job j where j.id = d.job)
           or exists (select 1 from offpath_history h where h.id = d.job) as there
    from due d
),
gone as (
    delete from offpath_step s using fate f where s.job = f.job and s.name = f.name and not f.there
),
kept as (
    update offpath_step s
    set look_at = greatest(cast(:soonest as bigint), coalesce(f.expires_at, cast(:later as bigint)))
    from fate f where s.job = f.job and s.name = f.name and f.there
)
select count(*) from due
