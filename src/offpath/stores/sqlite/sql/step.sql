-- What a job has done, remembered under the fence: a late attempt remembers nothing.
-- steps: [name, position, version, task, result]

-- name: remember
insert into offpath_step (job, name, position, version, task, result, at, look_at)
select j.id, json_extract(s.value, '$[0]'), json_extract(s.value, '$[1]'), json_extract(s.value, '$[2]'),
       json_extract(s.value, '$[3]'), json_extract(s.value, '$[4]'), :now, :now + :look
from offpath_job j cross join json_each(:steps) s
where j.id = :id and j.fence = :fence and j.worker = :worker and j.state = 3
on conflict (job, name) do update
set position = excluded.position, version = excluded.version, task = excluded.task, result = excluded.result,
    at = excluded.at, look_at = excluded.look_at

-- name: remembered
select name, position, version, task from offpath_step where job = :id

-- name: result
select result from offpath_step where job = :id and name = :name

-- name: list
select name, position, version, at, result from offpath_step where job = :id order by at, position, name limit :limit

-- name: erase
delete from offpath_step where job = :id

-- name: forget
-- Of those that are due for a look, the ones whose job is nowhere.
delete from offpath_step
where rowid in (select rowid from offpath_step where look_at <= :now order by look_at limit :limit)
  and not exists (select 1 from offpath_job j where j.id = job)
  and not exists (select 1 from offpath_history h where h.id = job)

-- name: keep
-- The others: until history forgets their job, or for another hour.
update offpath_step
set look_at = max(:soonest, coalesce((select h.expires_at from offpath_history h where h.id = job), :later))
where rowid in (select rowid from offpath_step where look_at <= :now order by look_at limit :limit)
