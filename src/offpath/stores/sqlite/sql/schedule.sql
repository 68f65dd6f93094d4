-- Schedules: whose time has come, and what has become of them. `busy`: a job of the schedule is there, under the key
-- that all its jobs share (see core/schedule.py: key_of).
-- names: of the schedules declared in code, those the worker declares itself; the others belong to other versions of the
--        application, or to none any more
-- fired: [name, next_at, last_tick, last_job, skipped]

-- name: one
select s.name, s.spec, s.task, s.call, s.overlap, s.declared, s.anchor, s.next_at, s.paused, s.revision,
       s.last_tick, s.last_job, s.last_at, s.skipped, s.created_at, s.updated_at,
       exists (select 1 from offpath_job j where j.task = s.task and j.key = 'schedule:' || s.name)
from offpath_schedule s where s.name = :name

-- name: held
-- To be changed: nobody else changes it meanwhile.
select s.name, s.spec, s.task, s.call, s.overlap, s.declared, s.anchor, s.next_at, s.paused, s.revision,
       s.last_tick, s.last_job, s.last_at, s.skipped, s.created_at, s.updated_at,
       exists (select 1 from offpath_job j where j.task = s.task and j.key = 'schedule:' || s.name)
from offpath_schedule s where s.name = :name

-- name: list
select s.name, s.spec, s.task, s.call, s.overlap, s.declared, s.anchor, s.next_at, s.paused, s.revision,
       s.last_tick, s.last_job, s.last_at, s.skipped, s.created_at, s.updated_at,
       exists (select 1 from offpath_job j where j.task = s.task and j.key = 'schedule:' || s.name)
from offpath_schedule s where s.name > :after order by s.name limit :limit

-- name: due
-- Those last whose tick queues behind a job of their own.
select * from (
select s.name, s.spec, s.task, s.call, s.overlap, s.declared, s.anchor, s.next_at, s.paused, s.revision,
       s.last_tick, s.last_job, s.last_at, s.skipped, s.created_at, s.updated_at,
       exists (select 1 from offpath_job j where j.task = s.task and j.key = 'schedule:' || s.name) as busy
from offpath_schedule s
where s.paused = 0 and s.next_at <= :now
  and (s.declared = '[]' or s.name in (select value from json_each(:names)))
) s
order by (overlap = 'queue' and busy), next_at limit :limit

-- name: next
select min(s.next_at) from offpath_schedule s
where s.paused = 0 and s.next_at > :now
  and (s.declared = '[]' or s.name in (select value from json_each(:names)))

-- name: claim
-- Of these, those that still are as they were looked at: theirs is the tick.
-- fires: [name, revision, next_at]
select s.name
from json_each(:fires) r
cross join offpath_schedule s on s.name = json_extract(r.value, '$[0]')
where s.revision = json_extract(r.value, '$[1]') and s.next_at = json_extract(r.value, '$[2]') and s.paused = 0

-- name: advance
update offpath_schedule as s
set next_at = json_extract(r.value, '$[1]'), last_tick = coalesce(json_extract(r.value, '$[2]'), s.last_tick),
    last_job = coalesce(json_extract(r.value, '$[3]'), s.last_job),
    last_at = case when json_extract(r.value, '$[3]') is null then s.last_at else :now end,
    skipped = s.skipped + json_extract(r.value, '$[4]')
from json_each(:fired) r
where s.name = json_extract(r.value, '$[0]')

-- name: insert
insert into offpath_schedule (name, spec, task, call, overlap, declared, anchor, next_at, paused, revision,
                              last_tick, last_job, last_at, skipped, created_at, updated_at)
values (:name, :spec, :task, :call, :overlap, :declared, :anchor, :next_at, :paused, :revision, :last_tick,
        :last_job, :last_at, :skipped, :created_at, :updated_at)
on conflict (name) do nothing

-- name: write
update offpath_schedule
set spec = :spec, task = :task, call = :call, overlap = :overlap, declared = :declared, anchor = :anchor,
    next_at = :next_at, paused = :paused, revision = :revision, last_tick = :last_tick, last_job = :last_job,
    last_at = :last_at, skipped = :skipped, updated_at = :updated_at
where name = :name

-- name: delete
delete from offpath_schedule where name = :name

-- name: alive
-- What workers know that are believed alive: tasks, and the signs of the schedules they declare.
select distinct tasks from offpath_worker where lapsed_at is null and expires_at > :now
