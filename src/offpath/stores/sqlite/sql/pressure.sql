-- How full a queue is, and how much of it is whose. Every look is bounded by `limit` rows of an index. Jobs
-- under a limit count in the depth; that they are old says more of their limit than of the queue, so their age does not.

-- name: depth
select count(*)
from (select 1 from offpath_job where queue = :queue and state = 2 and lane is null
      union all
      select 1 from offpath_job where queue = :queue and state = 2 and lane is not null
      limit :limit)

-- name: oldest
-- By hopping from priority to priority in the claim's index: the oldest is at the head of one of them.
with recursive hop (priority) as (
    select min(priority) from offpath_job where queue = :queue and state = 2 and lane is null
    union all
    select (select min(priority) from offpath_job
            where queue = :queue and state = 2 and lane is null and priority > hop.priority)
    from hop where hop.priority is not null
)
select min((select min(run_at) from offpath_job
            where queue = :queue and state = 2 and lane is null and priority = hop.priority))
from hop where hop.priority is not null

-- name: oldest_of_each
-- The same of many queues in one statement.
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

-- name: tenants
-- Of the first `limit` ready jobs, those that are operations, by tenant.
select o.tenant, count(*)
from (select id from offpath_job where queue = :queue and state = 2 and lane is null
      order by priority, run_at limit :limit) first
cross join offpath_operation o on o.id = first.id
group by o.tenant

-- name: live
select count(*)
from (select 1 from offpath_job j cross join offpath_operation o on o.id = j.id
      where j.watched = 1 and j.owner = :owner and o.tenant = :tenant limit :limit)
