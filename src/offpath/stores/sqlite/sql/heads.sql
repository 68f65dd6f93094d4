-- The oldest ready job of each of many queues, in one statement (a look at one queue: pressure.oldest).

-- name: oldest
-- By hopping from priority to priority in the claim's index, in all of the queues at once.
with recursive hop (queue, priority) as (
    select q.value, (select min(priority) from offpath_job where queue = q.value and state = 2 and lane is null)
    from json_each(:queues) q
    union all
    select hop.queue, (select min(priority) from offpath_job
                       where queue = hop.queue and state = 2 and lane is null and priority > hop.priority)
    from hop where hop.priority is not null
)
select queue, min((select min(run_at) from offpath_job
                   where queue = hop.queue and state = 2 and lane is null and priority = hop.priority))
from hop where priority is not null group by queue
