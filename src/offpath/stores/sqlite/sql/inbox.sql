-- Messages that have become jobs (migrations/0013).

-- name: know
-- rows: [task, source, id, job]. The jobs of those that were not known.
insert into offpath_inbox (task, source, id, job, at, expires_at)
select json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]'),
       :now, :until
from json_each(:rows) where true
on conflict do nothing
returning job

-- name: hold
-- Nothing: there is one writer at a time.
select 1 where false

-- name: ends
-- lines: where each of them ends, as far as there is somebody in it
select value, (select max(place) from offpath_job where line = value) from json_each(:lines)

-- name: stand
-- rows: [id, line, place]
update offpath_job set line = json_extract(c.value, '$[1]'), place = json_extract(c.value, '$[2]')
from json_each(:rows) c
where offpath_job.id = json_extract(c.value, '$[0]')

-- name: stranded
-- The next lines in which somebody waits, by hopping from one to the next; and of each the first job, if it waits itself:
-- nobody is left who would free it.
with recursive hop (n, line) as (
    select 1, (select min(line) from offpath_job where line is not null and state = 1 and line > :after)
    union all
    select n + 1, (select min(line) from offpath_job where line is not null and state = 1 and line > hop.line)
    from hop where hop.line is not null and n < :limit
)
select hop.line, case when j.state = 1 then j.id end
from hop join offpath_job j on j.id = (select id from offpath_job where line = hop.line order by place limit 1)
where hop.line is not null
order by hop.n

-- name: free
update offpath_job set state = 0
where id in (select value from json_each(:ids)) and state = 1
  and not exists (select 1 from offpath_job e where e.line = offpath_job.line and e.place < offpath_job.place)

-- name: depth
-- How many jobs of a queue are to be run before new ones, up to `limit`: those that are ready or wait in a line.
select count(*)
from (select 1 from offpath_job where queue = :queue and state = 2 and lane is null
      union all
      select 1 from offpath_job where queue = :queue and state = 2 and lane is not null
      union all
      select 1 from offpath_job where line is not null and queue = :queue and state = 1
      limit :limit)

-- name: keep
insert into offpath_letter (id, job, task, kind, source, place, body, size, digest, message, at, look_at)
values (:id, :job, :task, :kind, :source, :place, :body, :size, :digest, :message, :at, :look_at)

-- name: letter
select id, job, task, kind, source, place, body, size, digest, message, at from offpath_letter where id = :id

-- name: read
update offpath_letter set job = :job where id = :id

-- name: erase
delete from offpath_letter where job = :id

-- name: forget
delete from offpath_inbox
where (task, source, id) in (select task, source, id from offpath_inbox where expires_at <= :now
                             order by expires_at limit :limit)

-- name: lose
-- Of those that are due for a look, the ones whose job is nowhere, with no other to read them.
delete from offpath_letter
where rowid in (select rowid from offpath_letter where look_at <= :now order by look_at limit :limit)
  and not exists (select 1 from offpath_job j where j.id = job)
  and not exists (select 1 from offpath_job j where j.task = :task and j.key = offpath_letter.id)
  and not exists (select 1 from offpath_history h where h.id = job)

-- name: spare
-- The others: until history forgets their job, or for another hour.
update offpath_letter
set look_at = max(:soonest, coalesce((select h.expires_at from offpath_history h where h.id = job), :later))
where rowid in (select rowid from offpath_letter where look_at <= :now order by look_at limit :limit)
