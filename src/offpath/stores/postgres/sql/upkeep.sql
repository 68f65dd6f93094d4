-- Pages of jobs that upkeep decides on in core/lifecycle.py, and what has outlived its time. What somebody else has
-- locked is on the next page.

-- name: held
-- Only with a verdict: the jobs of a worker that is merely late are its own.
select cast(id as text), task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence,
       worker, cancel_at, once, watched, owner, options, cast(retry_of as text), cancel_reason,
       cast(flow as text), waits, lane
from offpath_job
where state = 3 and worker = cast(:worker as text)
  and exists (select 1 from offpath_worker where id = cast(:worker as text) and lapsed_at is not null)
limit cast(:limit as bigint) for update skip locked

-- name: orphaned
select cast(id as text), task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence,
       worker, cancel_at, once, watched, owner, options, cast(retry_of as text), cancel_reason,
       cast(flow as text), waits, lane
from offpath_job j
where state = 3 and not exists (select 1 from offpath_worker w where w.id = j.worker)
limit cast(:limit as bigint) for update skip locked

-- name: overdue
select cast(id as text), task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence,
       worker, cancel_at, once, watched, owner, options, cast(retry_of as text), cancel_reason,
       cast(flow as text), waits, lane
from offpath_job
where deadline is not null and deadline <= cast(:now as bigint) and state <> 3
order by deadline limit cast(:limit as bigint) for update skip locked

-- name: fading
-- Operations whose time is up.
select cast(id as text), cast(null as text) from offpath_operation where expired = 0 and expires_at <= cast(:now as bigint)
order by expires_at limit cast(:limit as bigint) for update skip locked

-- name: entomb
update offpath_operation set expired = 1, progress = null, label = '', expires_at = cast(:until as bigint)
where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))

-- name: faded
select cast(id as text), cast(null as text) from offpath_operation where expired = 1 and expires_at <= cast(:now as bigint)
order by expires_at limit cast(:limit as bigint) for update skip locked

-- name: forget
delete from offpath_operation
where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))

-- name: spent
-- What is kept for less than a day; the rest goes with its partition. With it, the partition it is in.
select cast(id as text), cast(expires_on as text) from offpath_history
where expires_at <= cast(:now as bigint) and expires_at - finished_at < 86400000000
limit cast(:limit as bigint)

-- name: history
-- rows: [id, expires_on]
delete from offpath_history h
using (select cast(r ->> 0 as uuid) as id, cast(r ->> 1 as date) as expires_on
       from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r) old
where h.id = old.id and h.expires_on = old.expires_on

-- name: events
delete from offpath_event
where job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))

-- name: counts
select queue, task, state, count(*), min(run_at), version from offpath_job group by queue, task, version, state

-- name: queues
-- Queues with ready jobs, by hopping from one to the next in the claim's indexes: as many steps as there are queues.
with recursive
ready (queue) as (
    select min(queue) from offpath_job where state = 2 and once = 0 and crashes = 0 and lane is null
    union all
    select (select min(queue) from offpath_job
            where state = 2 and once = 0 and crashes = 0 and lane is null and queue > ready.queue)
    from ready where ready.queue is not null
),
delicate (queue) as (
    select min(queue) from offpath_job where state = 2 and (once = 1 or crashes > 0) and lane is null
    union all
    select (select min(queue) from offpath_job
            where state = 2 and (once = 1 or crashes > 0) and lane is null and queue > delicate.queue)
    from delicate where delicate.queue is not null
),
limited (queue) as (
    select min(queue) from offpath_job where state = 2 and lane is not null
    union all
    select (select min(queue) from offpath_job where state = 2 and lane is not null and queue > limited.queue)
    from limited where limited.queue is not null
)
select queue from ready where queue is not null
union
select queue from delicate where queue is not null
union
select queue from limited where queue is not null
order by queue

-- name: next_due
select min(run_at) from offpath_job where state = 0
