-- Attempts that did not succeed, written in the transaction that settles or expires them.

-- name: insert
-- rows: [job, fence, attempt, worker, started_at, ended, error]
insert into offpath_job_attempt (job, fence, attempt, worker, label, started_at, ended_at, ended, error, look_at)
select json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
       json_extract(value, '$[3]'), (select label from offpath_worker where id = json_extract(value, '$[3]')),
       json_extract(value, '$[4]'), :now, json_extract(value, '$[5]'), json_extract(value, '$[6]'), :look
from json_each(:rows) where true
on conflict do nothing

-- name: fewer
-- rows: [job, the number of the first attempt that is kept]
delete from offpath_job_attempt
where rowid in (select a.rowid from json_each(:rows) r
                cross join offpath_job_attempt a on a.job = json_extract(r.value, '$[0]')
                where a.attempt < json_extract(r.value, '$[1]'))

-- name: list
select attempt, fence, worker, label, started_at, ended_at, ended, error from offpath_job_attempt
where job = :id order by fence limit :limit

-- name: erase
delete from offpath_job_attempt where job = :id

-- name: erase_many
delete from offpath_job_attempt where job in (select value from json_each(:ids))

-- name: forget
-- Of those that are due for a look, the ones whose job is nowhere.
delete from offpath_job_attempt
where rowid in (select rowid from offpath_job_attempt where look_at <= :now order by look_at limit :limit)
  and not exists (select 1 from offpath_job j where j.id = job)
  and not exists (select 1 from offpath_history h where h.id = job)

-- name: keep
-- The others: until history forgets their job, or for another day.
update offpath_job_attempt
set look_at = max(:soonest, coalesce((select h.expires_at from offpath_history h where h.id = job), :later))
where rowid in (select rowid from offpath_job_attempt where look_at <= :now order by look_at limit :limit)
