-- What a rule watches, and how it stands. Every worker looks; who changes the row must have seen its last change.

-- name: failures
-- Counted no further than `limit`. A flow fails by a part that fails: it is counted as that part.
select count(*)
from (select 1 from offpath_history
      where outcome = 5 and finished_at >= :since and (:queue is null or queue = :queue) and (:task is null or task = :task)
        and task <> :flow
      limit :limit)

-- name: get
select name, seq, raised_at, value from offpath_alert where name = :name

-- name: first
insert into offpath_alert (name, seq, raised_at, value) values (:name, 1, :raised_at, :value) on conflict do nothing

-- name: move
update offpath_alert set seq = seq + 1, raised_at = :raised_at, value = :value where name = :name and seq = :seq

-- name: forget
delete from offpath_alert where name = :name and seq = :seq

-- name: all
select name, seq, raised_at, value from offpath_alert order by name

-- name: alive
select count(*) from offpath_worker where lapsed_at is null and expires_at > :now

-- name: due
-- Since when the schedule that is furthest behind is due.
select min(next_at) from offpath_schedule where paused = 0 and next_at is not null

-- name: disabled
-- By what became of what was sent there, not by hand.
select count(*) from (select 1 from offpath_endpoint where enabled = 0 and reason not like :by_hand || '%' limit :limit)

-- name: late
-- The schedules that are further behind than a rule allows: asked when there is something to tell.
select name from offpath_schedule
where paused = 0 and next_at is not null and next_at < :before
order by next_at limit :limit

-- name: off
-- The endpoints that `disabled` counts, and since when they are as they are: asked when there is something to tell.
select id, updated_at from offpath_endpoint where enabled = 0 and reason not like :by_hand || '%' limit :limit
