-- Of a key with a rule (debounce, throttle, latest): its holder, and the one job behind it (migrations/0011).
-- keys: [task, key]

-- name: lock
-- Nothing yet, but as a write: in a caller's transaction that has only read so far, whoever wrote between our look and our
-- writing could not be waited for.
delete from offpath_window where rowid = 0

-- name: look
select json_extract(k.value, '$[0]'), json_extract(k.value, '$[1]'), j.id, j.state, j.fence, j.run_at, j.behind,
       j.watched, (select free_at from offpath_window
                   where task = json_extract(k.value, '$[0]') and key = json_extract(k.value, '$[1]'))
from json_each(:keys) k
left join offpath_job j on j.task = json_extract(k.value, '$[0]') and j.key = json_extract(k.value, '$[1]')

-- name: replace
-- Only what is still in the state that it was read in. It is as new: a fresh budget of attempts goes with new arguments.
-- rows: [id, state; then what it becomes: version, args, queue, priority, state, run_at, deadline, once, owner, options,
--        lane, behind]
update offpath_job
set version = json_extract(c.value, '$[2]'), args = json_extract(c.value, '$[3]'), queue = json_extract(c.value, '$[4]'),
    priority = json_extract(c.value, '$[5]'), state = json_extract(c.value, '$[6]'),
    run_at = json_extract(c.value, '$[7]'), deadline = json_extract(c.value, '$[8]'),
    once = json_extract(c.value, '$[9]'), owner = json_extract(c.value, '$[10]'),
    options = json_extract(c.value, '$[11]'), lane = json_extract(c.value, '$[12]'),
    behind = json_extract(c.value, '$[13]'), attempt = 1, crashes = 0
from json_each(:rows) c
where offpath_job.id = json_extract(c.value, '$[0]') and offpath_job.state = json_extract(c.value, '$[1]')
returning id

-- name: behind
-- rows: [id, key]
update offpath_job set key = json_extract(c.value, '$[1]'), behind = 1
from json_each(:rows) c
where offpath_job.id = json_extract(c.value, '$[0]')
returning id

-- name: stranded
select id from offpath_job f
where behind = 1 and not exists (select 1 from offpath_job h where h.task = f.task and h.key = f.key and h.behind = 0)
limit :limit

-- name: free
-- (Not `behind = 1`: by id, and not through all that are behind.)
update offpath_job set behind = 0, state = 0
where id in (select value from json_each(:ids)) and behind <> 0
  and not exists (select 1 from offpath_job h
                  where h.task = offpath_job.task and h.key = offpath_job.key and h.behind = 0)

-- name: window
-- rows: [task, key, free_at]
insert into offpath_window (task, key, free_at)
select json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') from json_each(:rows)
where true
on conflict (task, key) do update set free_at = excluded.free_at

-- name: forget
delete from offpath_window
where rowid in (select rowid from offpath_window where free_at <= :now order by free_at limit :limit)
