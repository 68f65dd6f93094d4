-- Pausing a queue: one row, which every claim looks at.

-- name: pause
insert into offpath_queue (name, paused_at, reason) values (:queue, :now, :reason)
on conflict (name) do update
set reason = excluded.reason, paused_at = coalesce(offpath_queue.paused_at, excluded.paused_at)

-- name: resume
update offpath_queue set paused_at = null, reason = '' where name = :queue

-- name: paused
select name, paused_at, reason from offpath_queue where paused_at is not null order by name

-- name: counts
select queue, state, count(*), min(run_at) from offpath_job
where :queue is null or queue = :queue group by queue, state
