-- The oldest ready job of each of many queues, in one statement (a look at one queue: pressure.oldest).

-- name: oldest
-- By hopping from priority to priority in the claim's indexes, in all of the queues at once.
with recursive
asked (queue) as (select jsonb_array_elements_text(cast(cast(:queues as text) as jsonb))),
ready (queue, priority) as (
    select q.queue, (select min(priority) from offpath_job
                     where queue = q.queue and state = 2 and once = 0 and crashes = 0 and lane is null)
    from asked q
    union all
    select ready.queue, (select min(priority) from offpath_job
                         where queue = ready.queue and state = 2 and once = 0 and crashes = 0 and lane is null
                           and priority > ready.priority)
    from ready where ready.priority is not null
),
delicate (queue, priority) as (
    select q.queue, (select min(priority) from offpath_job
                     where queue = q.queue and state = 2 and (once = 1 or crashes > 0) and lane is null)
    from asked q
    union all
    select delicate.queue, (select min(priority) from offpath_job
                            where queue = delicate.queue and state = 2 and (once = 1 or crashes > 0) and lane is null
                              and priority > delicate.priority)
    from delicate where delicate.priority is not null
)
select queue, min(run_at)
from (select queue, (select min(run_at) from offpath_job
                     where queue = ready.queue and state = 2 and once = 0 and crashes = 0 and lane is null
                       and priority = ready.priority) as run_at
      from ready where ready.priority is not null
      union all
      select queue, (select min(run_at) from offpath_job
                     where queue = delicate.queue and state = 2 and (once = 1 or crashes > 0) and lane is null
                       and priority = delicate.priority)
      from delicate where delicate.priority is not null) heads
group by queue
