-- Jobs under a limit are claimed under the same BEGIN IMMEDIATE as all others: `scan` finds lanes whose turn it is,
-- `heads`, `runs`, `rates` and `rules` say what is known of them, core/admission.py decides, `take` and `claim.mark`
-- claim. With one writer at a time there is nothing to lock.

-- name: queues
-- Queues with jobs that wait under a limit, by hopping from one to the next.
with recursive hop (queue) as (
    select min(queue) from offpath_job where state = 2 and lane is not null
    union all
    select (select min(queue) from offpath_job where state = 2 and lane is not null and queue > hop.queue)
    from hop where hop.queue is not null
)
select queue from hop where queue is not null

-- name: scan
-- The next lanes in a ring: those behind `after`, and past the end (`past`) those from the beginning up to `until`.
-- One row: the lanes, the buckets among them that are somebody else's now (none), and whether the end was passed.
-- A queue that is paused has none.
-- (Whether the end was passed on the way to a lane shows in its being no greater than the one before.)
with recursive ring (lane, past, previous, n) as (
    select coalesce((select min(lane) from offpath_job
                     where state = 2 and lane is not null and queue = :queue and lane > :after),
                    iif(:past, null, (select min(lane) from offpath_job
                                      where state = 2 and lane is not null and queue = :queue))),
           :past, :after, 1
    where not exists (select 1 from offpath_queue where name = :queue and paused_at is not null)
    union all
    select coalesce((select min(lane) from offpath_job
                     where state = 2 and lane is not null and queue = :queue and lane > ring.lane),
                    iif(ring.past or ring.lane <= ring.previous, null,
                        (select min(lane) from offpath_job
                         where state = 2 and lane is not null and queue = :queue))),
           ring.past or ring.lane <= ring.previous, ring.lane, ring.n + 1
    from ring
    where ring.lane is not null and ring.n < :limit
      and not ((ring.past or ring.lane <= ring.previous) and ring.lane > :until)
)
select coalesce(json_group_array(lane), '[]'), '[]', coalesce(max(past or lane <= previous), 1)
from (select lane, past, previous from ring
      where lane is not null and not ((past or lane <= previous) and lane > :until) order by n)

-- name: heads
select json_group_array(json_array(given.value, (
    select json_group_array(json_array(id, size, crashes, once))
    from (select id, length(cast(args as blob)) as size, crashes, once from offpath_job
          where state = 2 and lane is not null and queue = :queue and lane = given.value
            and task || '@' || version in (select value from json_each(:tasks))
          order by priority, run_at, rowid limit :heads))))
from json_each(:lanes) given

-- name: runs
-- All that runs under a limit, of whatever lane: a bucket may be in many. It is never more than the workers have slots.
select json_group_object(lane, jobs)
from (select lane, count(*) as jobs from offpath_job where state = 3 and lane is not null group by lane)

-- name: rates
select bucket, tat from offpath_rate where bucket in (select value from json_each(:buckets))

-- name: rules
select name, concurrency, spacing, burst from offpath_limit where name in (select value from json_each(:rules))

-- name: take
select json_group_array(json_array(rowid, id, task, version, args, queue, priority, run_at, deadline, key, attempt,
                                   crashes, fence, once, watched, owner, options, retry_of,
                                   flow, lane))
from offpath_job where id in (select value from json_each(:ids)) and state = 2

-- name: use
-- tats: {bucket: moment}
insert into offpath_rate (bucket, tat)
select key, value from json_each(:tats) where true
on conflict (bucket) do update set tat = excluded.tat

-- name: declare
-- rules: [name, concurrency, spacing, burst]; the newest declaration wins
insert into offpath_limit (name, concurrency, spacing, burst)
select json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]')
from json_each(:rules) where true
on conflict (name) do update
set concurrency = excluded.concurrency, spacing = excluded.spacing, burst = excluded.burst

-- name: forget
-- Moments so long past that no clock set back brings them to life again.
delete from offpath_rate
where bucket in (select bucket from offpath_rate where tat < :before order by tat limit :limit)
