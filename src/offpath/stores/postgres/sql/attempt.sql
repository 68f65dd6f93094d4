-- Attempts that did not succeed, written in the transaction that settles or expires them.

-- name: insert
-- rows: [job, fence, attempt, worker, started_at, ended, error]
insert into offpath_job_attempt (job, fence, attempt, worker, label, started_at, ended_at, ended, error, look_at)
select cast(r ->> 0 as uuid), cast(r ->> 1 as bigint), cast(r ->> 2 as integer), r ->> 3,
       (select label from offpath_worker where id = r ->> 3), cast(r ->> 4 as bigint), cast(:now as bigint), r ->> 5,
       r ->> 6, cast(:look as bigint)
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
on conflict do nothing

-- name: fewer
-- rows: [job, the number of the first attempt that is kept]
delete from offpath_job_attempt a
using (select cast(r ->> 0 as uuid) as job, cast(r ->> 1 as integer) as first
       from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r) k
where a.job = k.job and a.attempt < k.first

-- name: list
select attempt, fence, worker, label, started_at, ended_at, ended, error from offpath_job_attempt
where job = cast(:id as uuid) order by fence limit cast(:limit as bigint)

-- name: erase
delete from offpath_job_attempt where job = cast(:id as uuid)

-- name: erase_many
delete from offpath_job_attempt
where job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))

-- name: forget
-- Of those that are due for a look: gone with their job, or kept until history forgets it, or for another day.
with due as materialized (
    select job, fence from offpath_job_attempt where look_at <= cast(:now as bigint)
    order by look_at limit cast(:limit as bigint) for update skip locked
),
fate as materialized (
    select d.job, d.fence,
           (select h.expires_at from offpath_history h where h.id = d.job limit 1) as expires_at,
           exists (select 1 from offpath_job j where j.id = d.job)
           or exists (select 1 from offpath_history h where h.id = d.job) as there
    from due d
),
gone as (
    delete from offpath_job_attempt a using fate f where a.job = f.job and a.fence = f.fence and not f.there
),
kept as (
    update offpath_job_attempt a
    set look_at = greatest(cast(:soonest as bigint), coalesce(f.expires_at, cast(:later as bigint)))
    from fate f where a.job = f.job and a.fence = f.fence and f.there
)
select count(*) from due
