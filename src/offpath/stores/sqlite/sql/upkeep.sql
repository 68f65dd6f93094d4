-- Pages of jobs that upkeep decides on in core/lifecycle.py, and what has outlived its time.

-- name: held
-- Only with a verdict: the jobs of a worker that is merely late are its own.
select id, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence, worker,
       cancel_at, once, watched, owner, options, retry_of, cancel_reason, flow, waits,
       lane
from offpath_job
where state = 3 and worker = :worker
  and exists (select 1 from offpath_worker where id = :worker and lapsed_at is not null)
limit :limit

-- name: orphaned
select id, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence, worker,
       cancel_at, once, watched, owner, options, retry_of, cancel_reason, flow, waits,
       lane
from offpath_job where state = 3 and worker not in (select id from offpath_worker) limit :limit

-- name: overdue
select id, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence, worker,
       cancel_at, once, watched, owner, options, retry_of, cancel_reason, flow, waits,
       lane
from offpath_job where deadline is not null and deadline <= :now and state <> 3 order by deadline limit :limit

-- name: fading
-- Operations whose time is up. (The second column is what PostgreSQL needs.)
select id, null from offpath_operation where not expired and expires_at <= :now order by expires_at limit :limit

-- name: entomb
update offpath_operation set expired = 1, progress = null, label = '', expires_at = :until
where id in (select value from json_each(:ids))

-- name: faded
select id, null from offpath_operation where expired and expires_at <= :now order by expires_at limit :limit

-- name: forget
delete from offpath_operation where id in (select value from json_each(:ids))

-- name: spent
select id, null from offpath_history where expires_at <= :now order by expires_at limit :limit

-- name: history
-- rows: [id, …]
delete from offpath_history where id in (select json_extract(value, '$[0]') from json_each(:rows))

-- name: events
delete from offpath_event where job in (select value from json_each(:ids))

-- name: counts
select queue, task, state, count(*), min(run_at), version from offpath_job group by queue, task, version, state

-- name: queues
-- Queues with ready jobs, by hopping from one to the next in the claim's indexes: as many steps as there are queues.
with recursive hop (queue) as (
    select min(queue) from offpath_job where state = 2 and lane is null
    union all
    select (select min(queue) from offpath_job where state = 2 and lane is null and queue > hop.queue)
    from hop where hop.queue is not null
),
limited (queue) as (
    select min(queue) from offpath_job where state = 2 and lane is not null
    union all
    select (select min(queue) from offpath_job where state = 2 and lane is not null and queue > limited.queue)
    from limited where limited.queue is not null
)
select queue from hop where queue is not null
union
select queue from limited where queue is not null

-- name: next_due
select min(run_at) from offpath_job where state = 0
