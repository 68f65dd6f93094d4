-- How things go: counts of what ended, samples of queues, workers. Every look at jobs is bounded by `limit` rows of an
-- index.

-- name: count
-- rows: [at, queue, task, succeeded, failed, canceled, retried, waited, ran, wait, run]
insert into offpath_stat (at, queue, task, worker, succeeded, failed, canceled, retried, waited, ran, wait, run)
select cast(r ->> 0 as bigint), r ->> 1, r ->> 2, cast(:worker as text), cast(r ->> 3 as bigint),
       cast(r ->> 4 as bigint), cast(r ->> 5 as bigint), cast(r ->> 6 as bigint), cast(r ->> 7 as bigint),
       cast(r ->> 8 as bigint), r ->> 9, r ->> 10
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
on conflict (at, queue, task, worker) do update
set succeeded = excluded.succeeded, failed = excluded.failed, canceled = excluded.canceled, retried = excluded.retried,
    waited = excluded.waited, ran = excluded.ran, wait = excluded.wait, run = excluded.run

-- name: describe
update offpath_worker set about = cast(:about as text), load = cast(:load as text) where id = cast(:worker as text)

-- name: sample
-- rows: [queue, ready, running, oldest]
insert into offpath_sample (at, queue, ready, running, oldest)
select cast(:at as bigint), r ->> 0, cast(r ->> 1 as bigint), cast(r ->> 2 as bigint), cast(r ->> 3 as bigint)
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
where not exists (select 1 from offpath_sample where at = cast(:at as bigint))
on conflict do nothing

-- name: ended
select at, queue, task, succeeded, failed, canceled, retried, waited, ran, wait, run from offpath_stat
where at >= cast(:since as bigint) and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (cast(:task as text) is null or task = cast(:task as text))

-- name: ended_all
-- Of all tasks, of one queue or of all: sums, and what a process of an older version has said without them.
select at, queue, task, succeeded, failed, canceled, retried, waited, ran, wait, run
from offpath_stat where task = '' and queue = coalesce(cast(:queue as text), '') and at >= cast(:since as bigint)
union all
select at, queue, task, succeeded, failed, canceled, retried, waited, ran, wait, run
from offpath_stat where worker > '-' and task <> '' and at >= cast(:since as bigint)
  and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (at, worker) not in (select t.at, t.worker from offpath_stat t
                           where t.task = '' and t.queue = '' and t.at >= cast(:since as bigint))

-- name: samples
-- Of one queue, or of all together.
select cast(:since as bigint) + (at - cast(:since as bigint)) / cast(:step as bigint) * cast(:step as bigint),
       max(ready), max(running), max(oldest)
from offpath_sample where queue = coalesce(cast(:queue as text), '') and at >= cast(:since as bigint)
group by 1 order by 1

-- name: sampled
-- How many were ready in each queue when it was last looked.
select distinct on (queue) queue, ready, at from offpath_sample
where at >= cast(:since as bigint) and queue <> '' order by queue, at desc

-- name: recent
select queue, cast(sum(succeeded + failed + canceled + retried) as bigint), min(at) from offpath_stat
where at >= cast(:since as bigint) and task <> '' group by queue

-- name: take
-- What is to be put back as one row for each task and queue. Who comes second finds them gone.
delete from offpath_stat where at >= cast(:since as bigint) and at < cast(:until as bigint)
returning at, queue, task, succeeded, failed, canceled, retried, waited, ran, wait, run

-- name: first
-- The first minute of a process.
select min(at) from offpath_stat where worker > '-' and at < cast(:until as bigint)

-- name: first_minute
-- The first minute of all.
select min(at) from offpath_stat where worker = '+' and at < cast(:until as bigint)

-- name: first_five
-- The first five minutes of all.
select min(at) from offpath_stat where worker = '' and at < cast(:until as bigint)

-- name: forget
delete from offpath_stat
where ctid = any(array(select ctid from offpath_stat where at < cast(:before as bigint)
                       limit cast(:limit as bigint) for update skip locked))

-- name: forget_samples
delete from offpath_sample
where ctid = any(array(select ctid from offpath_sample where at < cast(:before as bigint)
                       limit cast(:limit as bigint) for update skip locked))

-- name: workers
select id, label, expires_at, lapsed_at, tasks, about, load from offpath_worker order by id

-- name: filled
-- By hopping from one queue to the next: as many steps as there are queues.
with recursive hop (queue) as (
    select min(queue) from offpath_job where state < 2
    union all
    select (select min(queue) from offpath_job where state < 2 and queue > hop.queue)
    from hop where hop.queue is not null
)
select queue from hop where queue is not null

-- name: depths
select q.queue,
       (select count(*) from (
            (select 1 from offpath_job where queue = q.queue and state = 2 and once = 0 and crashes = 0 and lane is null
             limit cast(:limit as bigint))
            union all
            (select 1 from offpath_job
             where queue = q.queue and state = 2 and (once = 1 or crashes > 0) and lane is null
             limit cast(:limit as bigint))
            union all
            (select 1 from offpath_job where queue = q.queue and state = 2 and lane is not null
             limit cast(:limit as bigint))
            limit cast(:limit as bigint)) seen),
       (select count(*) from (select 1 from offpath_job
                              where queue = q.queue and state < 2 and state = 0 limit cast(:limit as bigint)) seen),
       (select count(*) from (select 1 from offpath_job
                              where queue = q.queue and state < 2 and state = 1 limit cast(:limit as bigint)) seen)
from jsonb_array_elements_text(cast(cast(:queues as text) as jsonb)) q (queue)

-- name: totals
-- By hopping from one queue to the next, so that what there is none of is not looked for among all others.
with recursive hop (queue) as (
    select min(queue) from offpath_job where state < 2
    union all
    select (select min(queue) from offpath_job where state < 2 and queue > hop.queue)
    from hop where hop.queue is not null
)
select (select count(*) from (
            select 1 from hop cross join lateral (select 1 from offpath_job where queue = hop.queue and state < 2 and state = 0
                                                  limit cast(:limit as bigint)) of_queue
            limit cast(:limit as bigint)) seen),
       (select count(*) from (
            select 1 from hop cross join lateral (select 1 from offpath_job where queue = hop.queue and state < 2 and state = 1
                                                  limit cast(:limit as bigint)) of_queue
            limit cast(:limit as bigint)) seen),
       (select count(*) from (
            (select 1 from offpath_job where state = 2 and once = 0 and crashes = 0 and lane is null
             limit cast(:limit as bigint))
            union all
            (select 1 from offpath_job where state = 2 and (once = 1 or crashes > 0) and lane is null
             limit cast(:limit as bigint))
            union all
            (select 1 from offpath_job where state = 2 and lane is not null limit cast(:limit as bigint))
            limit cast(:limit as bigint)) seen)

-- name: failed
-- Of the newest that failed; a change of many jobs is never run again.
select count(*), count(*) filter (where again is null and task <> 'offpath.bulk')
from (select retried_as as again, task from offpath_history where outcome = 5
      order by id desc limit cast(:limit as bigint)) seen

-- name: schedules
select count(*), count(*) filter (where paused = 1),
       count(*) filter (where paused = 0 and next_at < cast(:late as bigint)),
       min(next_at) filter (where paused = 0 and next_at >= cast(:now as bigint))
from offpath_schedule

-- name: endpoints
select count(*) filter (where enabled), count(*) filter (where not enabled)
from (select enabled <> 0 as enabled from offpath_endpoint limit cast(:limit as bigint)) seen

-- name: raised
select name, value, raised_at from offpath_alert where raised_at is not null order by name

-- name: limits
select name, concurrency, spacing, burst from offpath_limit order by name

-- name: lanes
-- All that runs under limits: never more than the workers have slots.
select lane, count(*) from offpath_job where state = 3 and lane is not null group by lane
