-- What a rule watches, and how it stands. Every worker looks; who changes the row must have seen its last change.

-- name: failures
-- Counted no further than `limit`. A flow fails by a part that fails: it is counted as that part.
select count(*)
from (select 1 from offpath_history
      where outcome = 5 and finished_at >= cast(:since as bigint)
        and (cast(:queue as text) is null or queue = cast(:queue as text))
        and (cast(:task as text) is null or task = cast(:task as text))
        and task <> cast(:flow as text)
      limit cast(:limit as bigint)) seen

-- name: get
select name, seq, raised_at, value from offpath_alert where name = cast(:name as text)

-- name: first
insert into offpath_alert (name, seq, raised_at, value)
values (cast(:name as text), 1, cast(:raised_at as bigint), cast(:value as bigint)) on conflict do nothing

-- name: move
update offpath_alert set seq = seq + 1, raised_at = cast(:raised_at as bigint), value = cast(:value as bigint)
where name = cast(:name as text) and seq = cast(:seq as integer)

-- name: forget
delete from offpath_alert where name = cast(:name as text) and seq = cast(:seq as integer)

-- name: all
select name, seq, raised_at, value from offpath_alert order by name

-- name: alive
select count(*) from offpath_worker where lapsed_at is null and expires_at > cast(:now as bigint)

-- name: due
-- Since when the schedule that is furthest behind is due.
select min(next_at) from offpath_schedule where paused = 0 and next_at is not null

-- name: disabled
-- By what became of what was sent there, not by hand.
select count(*) from (select 1 from offpath_endpoint where enabled = 0 and reason not like cast(:by_hand as text) || '%' limit cast(:limit as bigint)) seen

-- name: late
-- The schedules that are further behind than a rule allows: asked when there is something to tell.
select name from offpath_schedule
where paused = 0 and next_at is not null and next_at < cast(:before as bigint)
order by next_at limit cast(:limit as bigint)

-- name: off
-- The endpoints that `disabled` counts, and since when they are as they are: asked when there is something to tell.
select cast(id as text), updated_at from offpath_endpoint where enabled = 0 and reason not like cast(:by_hand as text) || '%' limit cast(:limit as bigint)
