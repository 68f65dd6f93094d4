-- How full a queue is, and how much of it is whose. Every look is bounded by `limit` rows of an index. Ready jobs are in
-- one of three indexes, and each is asked by its own predicate. Those under a limit count in the depth; that they are old
-- says more of their limit than of the queue, so their age does not.

-- name: depth
select count(*)
from (select 1 from (
          (select 1 from offpath_job
           where queue = cast(:queue as text) and state = 2 and once = 0 and crashes = 0 and lane is null
           limit cast(:limit as bigint))
          union all
          (select 1 from offpath_job
           where queue = cast(:queue as text) and state = 2 and (once = 1 or crashes > 0) and lane is null
           limit cast(:limit as bigint))
          union all
          (select 1 from offpath_job
           where queue = cast(:queue as text) and state = 2 and lane is not null limit cast(:limit as bigint))
      ) all_of limit cast(:limit as bigint)) seen

-- name: oldest
-- By hopping from priority to priority in the claim's indexes: the oldest is at the head of one of them.
with recursive
ready (priority) as (
    select min(priority) from offpath_job
    where queue = cast(:queue as text) and state = 2 and once = 0 and crashes = 0 and lane is null
    union all
    select (select min(priority) from offpath_job
            where queue = cast(:queue as text) and state = 2 and once = 0 and crashes = 0 and lane is null
              and priority > ready.priority)
    from ready where ready.priority is not null
),
delicate (priority) as (
    select min(priority) from offpath_job
    where queue = cast(:queue as text) and state = 2 and (once = 1 or crashes > 0) and lane is null
    union all
    select (select min(priority) from offpath_job
            where queue = cast(:queue as text) and state = 2 and (once = 1 or crashes > 0) and lane is null
              and priority > delicate.priority)
    from delicate where delicate.priority is not null
)
select min(run_at)
from (select (select min(run_at) from offpath_job
              where queue = cast(:queue as text) and state = 2 and once = 0 and crashes = 0 and lane is null
                and priority = ready.priority) as run_at
      from ready where ready.priority is not null
      union all
      select (select min(run_at) from offpath_job
              where queue = cast(:queue as text) and state = 2 and (once = 1 or crashes > 0) and lane is null
                and priority = delicate.priority)
      from delicate where delicate.priority is not null) heads

-- name: oldest_of_each
-- The same of many queues in one statement.
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

-- name: tenants
-- Of the first `limit` ready jobs, those that are operations, by tenant. (The delicate are few, and left out.)
select o.tenant, count(*)
from (select id from offpath_job
      where queue = cast(:queue as text) and state = 2 and once = 0 and crashes = 0 and lane is null
      order by priority, run_at, id limit cast(:limit as bigint)) first
join offpath_operation o on o.id = first.id
group by o.tenant

-- name: live
select count(*)
from (select 1 from offpath_job j join offpath_operation o on o.id = j.id
      where j.watched = 1 and j.owner = cast(:owner as text) and o.tenant = cast(:tenant as text)
      limit cast(:limit as bigint)) seen
