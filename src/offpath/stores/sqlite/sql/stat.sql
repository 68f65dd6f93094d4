-- How things go: counts of what ended, samples of queues, workers. Every look at jobs is bounded by `limit` rows of an
-- index.

-- name: count
-- rows: [at, queue, task, succeeded, failed, canceled, retried, waited, ran, wait, run]
insert into offpath_stat (at, queue, task, worker, succeeded, failed, canceled, retried, waited, ran, wait, run)
select json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), :worker,
       json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
       json_extract(value, '$[6]'), json_extract(value, '$[7]'), json_extract(value, '$[8]'),
       json_extract(value, '$[9]'), json_extract(value, '$[10]')
from json_each(:rows) where true
on conflict (at, queue, task, worker) do update
set succeeded = excluded.succeeded, failed = excluded.failed, canceled = excluded.canceled, retried = excluded.retried,
    waited = excluded.waited, ran = excluded.ran, wait = excluded.wait, run = excluded.run

-- name: describe
update offpath_worker set about = :about, load = :load where id = :worker

-- name: sample
-- rows: [queue, ready, running, oldest]
insert into offpath_sample (at, queue, ready, running, oldest)
select :at, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
       json_extract(value, '$[3]')
from json_each(:rows) where not exists (select 1 from offpath_sample where at = :at)
on conflict do nothing

-- name: ended
select at, queue, task, succeeded, failed, canceled, retried, waited, ran, wait, run from offpath_stat
where at >= :since and (:queue is null or queue = :queue) and (:task is null or task = :task)

-- name: ended_all
-- Of all tasks, of one queue or of all: sums, and what a process of an older version has said without them.
select at, queue, task, succeeded, failed, canceled, retried, waited, ran, wait, run
from offpath_stat indexed by offpath_stat_all where task = '' and queue = coalesce(:queue, '') and at >= :since
union all
select at, queue, task, succeeded, failed, canceled, retried, waited, ran, wait, run
from offpath_stat indexed by offpath_stat_raw where worker > '-' and task <> '' and at >= :since
  and (:queue is null or queue = :queue)
  and (at, worker) not in (select t.at, t.worker from offpath_stat t indexed by offpath_stat_all
                           where t.task = '' and t.queue = '' and t.at >= :since)

-- name: samples
-- Of one queue, or of all together.
select :since + (at - :since) / :step * :step, max(ready), max(running), max(oldest) from offpath_sample
where queue = coalesce(:queue, '') and at >= :since group by (at - :since) / :step order by 1

-- name: sampled
-- How many were ready in each queue when it was last looked. (+: by the time, and not through all of them by queue.)
select queue, ready, max(at) from offpath_sample where at >= :since and +queue <> '' group by +queue

-- name: recent
select queue, sum(succeeded + failed + canceled + retried), min(at) from offpath_stat
where at >= :since and task <> '' group by queue

-- name: take
-- What is to be put back as one row for each task and queue.
delete from offpath_stat
where (at, queue, task, worker) in
      (select at, queue, task, worker from offpath_stat where at >= :since and at < :until)
returning at, queue, task, succeeded, failed, canceled, retried, waited, ran, wait, run

-- name: first
-- The first minute of a process.
select min(at) from offpath_stat where worker > '-' and at < :until

-- name: first_minute
-- The first minute of all.
select min(at) from offpath_stat where worker = '+' and at < :until

-- name: first_five
-- The first five minutes of all.
select min(at) from offpath_stat where worker = '' and at < :until

-- name: forget
delete from offpath_stat
where (at, queue, task, worker) in (select at, queue, task, worker from offpath_stat where at < :before limit :limit)

-- name: forget_samples
delete from offpath_sample
where (at, queue) in (select at, queue from offpath_sample where at < :before limit :limit)

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
-- (As ranges: of `state = 1` SQLite would read all that are scheduled first.)
select q.value,
       (select count(*) from (select 1 from offpath_job where queue = q.value and state = 2 and lane is null
                              union all
                              select 1 from offpath_job where queue = q.value and state = 2 and lane is not null
                              limit :limit)),
       (select count(*) from (select 1 from offpath_job
                              where queue = q.value and state <= 0 and state < 2 limit :limit)),
       (select count(*) from (select 1 from offpath_job
                              where queue = q.value and state > 0 and state < 2 limit :limit))
from json_each(:queues) q

-- name: totals
-- By hopping from one queue to the next, so that what there is none of is not looked for among all others.
with recursive hop (queue) as (
    select min(queue) from offpath_job where state < 2
    union all
    select (select min(queue) from offpath_job where state < 2 and queue > hop.queue)
    from hop where hop.queue is not null
)
select (select min(coalesce(sum((select count(*) from (select 1 from offpath_job where queue = hop.queue and state <= 0
                                                       and state < 2 limit :limit))), 0), :limit) from hop),
       (select min(coalesce(sum((select count(*) from (select 1 from offpath_job where queue = hop.queue and state > 0
                                                       and state < 2 limit :limit))), 0), :limit) from hop),
       (select count(*) from (select 1 from offpath_job indexed by offpath_job_ready where state = 2 and lane is null
                              union all
                              select 1 from offpath_job where state = 2 and lane is not null
                              limit :limit))

-- name: failed
-- Of the newest that failed; a change of many jobs is never run again.
select count(*), coalesce(sum(again is null and task <> 'offpath.bulk'), 0)
from (select retried_as as again, task from offpath_history indexed by offpath_history_failed
      where outcome = 5 order by id desc limit :limit)

-- name: schedules
select count(*), coalesce(sum(paused), 0), coalesce(sum(paused = 0 and next_at < :late), 0),
       min(iif(paused = 0 and next_at >= :now, next_at, null))
from offpath_schedule

-- name: endpoints
select coalesce(sum(enabled), 0), coalesce(sum(not enabled), 0)
from (select enabled from offpath_endpoint limit :limit)

-- name: raised
select name, value, raised_at from offpath_alert where raised_at is not null order by name

-- name: limits
select name, concurrency, spacing, burst from offpath_limit order by name

-- name: lanes
-- All that runs under limits: never more than the workers have slots.
select lane, count(*) from offpath_job where state = 3 and lane is not null group by lane
