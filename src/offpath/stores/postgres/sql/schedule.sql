-- Schedules: whose time has come, and what has become of them. `busy`: a job of the schedule is there, under the key
-- that all its jobs share (see core/schedule.py: key_of). A count, since `exists` may become a hash of all live jobs.
-- names: of the schedules declared in code, those the worker declares itself; the others belong to other versions of the
--        application, or to none any more
-- fired: [name, next_at, last_tick, last_job, skipped]

-- name: one
select s.name, s.spec, s.task, s.call, s.overlap, s.declared, s.anchor, s.next_at, s.paused, s.revision,
       s.last_tick, cast(s.last_job as text), s.last_at, s.skipped, s.created_at, s.updated_at,
       (select count(*) > 0 from offpath_job j where j.task = s.task and j.key = 'schedule:' || s.name)
from offpath_schedule s where s.name = cast(:name as text)

-- name: held
-- To be changed: nobody else changes it meanwhile.
select s.name, s.spec, s.task, s.call, s.overlap, s.declared, s.anchor, s.next_at, s.paused, s.revision,
       s.last_tick, cast(s.last_job as text), s.last_at, s.skipped, s.created_at, s.updated_at,
       (select count(*) > 0 from offpath_job j where j.task = s.task and j.key = 'schedule:' || s.name)
from offpath_schedule s where s.name = cast(:name as text)
for update of s

-- name: list
select s.name, s.spec, s.task, s.call, s.overlap, s.declared, s.anchor, s.next_at, s.paused, s.revision,
       s.last_tick, cast(s.last_job as text), s.last_at, s.skipped, s.created_at, s.updated_at,
       (select count(*) > 0 from offpath_job j where j.task = s.task and j.key = 'schedule:' || s.name)
from offpath_schedule s where s.name > cast(:after as text) order by s.name limit cast(:limit as bigint)

-- name: due
-- Those last whose tick queues behind a job of their own.
select * from (
select s.name, s.spec, s.task, s.call, s.overlap, s.declared, s.anchor, s.next_at, s.paused, s.revision,
       s.last_tick, cast(s.last_job as text), s.last_at, s.skipped, s.created_at, s.updated_at,
       (select count(*) > 0 from offpath_job j where j.task = s.task and j.key = 'schedule:' || s.name) as busy
from offpath_schedule s
where s.paused = 0 and s.next_at <= cast(:now as bigint)
  and (s.declared = '[]'
       or s.name = any(array(select r from jsonb_array_elements_text(cast(cast(:names as text) as jsonb)) r)))
) s
order by (overlap = 'queue' and busy), next_at limit cast(:limit as bigint)

-- name: next
select min(s.next_at) from offpath_schedule s
where s.paused = 0 and s.next_at > cast(:now as bigint)
  and (s.declared = '[]'
       or s.name = any(array(select r from jsonb_array_elements_text(cast(cast(:names as text) as jsonb)) r)))

-- name: claim
-- Of these, those that still are as they were looked at: theirs is the tick. What somebody else has locked is his.
-- `paused + 0` keeps the planner from the index of next ticks: thousands may have the same.
-- fires: [name, revision, next_at]
select s.name
from jsonb_array_elements(cast(cast(:fires as text) as jsonb)) r
join offpath_schedule s on s.name = r ->> 0
where s.revision = cast(r ->> 1 as bigint) and s.next_at = cast(r ->> 2 as bigint) and s.paused + 0 = 0
order by s.name for update of s skip locked

-- name: advance
update offpath_schedule s
set next_at = cast(r ->> 1 as bigint), last_tick = coalesce(cast(r ->> 2 as bigint), s.last_tick),
    last_job = coalesce(cast(r ->> 3 as uuid), s.last_job),
    last_at = case when r ->> 3 is null then s.last_at else cast(:now as bigint) end,
    skipped = s.skipped + cast(r ->> 4 as bigint)
from jsonb_array_elements(cast(cast(:fired as text) as jsonb)) r
where s.name = r ->> 0

-- name: insert
insert into offpath_schedule (name, spec, task, call, overlap, declared, anchor, next_at, paused, revision,
                              last_tick, last_job, last_at, skipped, created_at, updated_at)
values (cast(:name as text), cast(:spec as text), cast(:task as text), cast(:call as text), cast(:overlap as text),
        cast(:declared as text), cast(:anchor as bigint), cast(:next_at as bigint), cast(:paused as smallint),
        cast(:revision as bigint), cast(:last_tick as bigint), cast(cast(:last_job as text) as uuid),
        cast(:last_at as bigint), cast(:skipped as bigint), cast(:created_at as bigint),
        cast(:updated_at as bigint))
on conflict (name) do nothing

-- name: write
update offpath_schedule
set spec = cast(:spec as text), task = cast(:task as text), call = cast(:call as text),
    overlap = cast(:overlap as text), declared = cast(:declared as text), anchor = cast(:anchor as bigint),
    next_at = cast(:next_at as bigint), paused = cast(:paused as smallint), revision = cast(:revision as bigint),
    last_tick = cast(:last_tick as bigint), last_job = cast(cast(:last_job as text) as uuid),
    last_at = cast(:last_at as bigint), skipped = cast(:skipped as bigint),
    updated_at = cast(:updated_at as bigint)
where name = cast(:name as text)

-- name: delete
delete from offpath_schedule where name = cast(:name as text)

-- name: alive
-- What workers know that are believed alive: tasks, and the signs of the schedules they declare.
select distinct tasks from offpath_worker where lapsed_at is null and expires_at > cast(:now as bigint)
