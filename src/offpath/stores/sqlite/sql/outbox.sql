-- Events on their way to a broker. One writer at a time draws `seq`, so its order is that of the commits.

-- name: insert
-- rows: [id, job, shard, key, address, subject, direct, plain, message]
insert into offpath_outbox (id, job, shard, key, address, subject, direct, plain, message, created_at)
select json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
       json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
       json_extract(value, '$[6]'), json_extract(value, '$[7]'), json_extract(value, '$[8]'), :now
from json_each(:rows) order by key

-- name: own
select seq, aside, error from offpath_outbox where job = :job

-- name: line
select o.seq, o.id, o.job, o.key, o.address, o.subject, o.direct, o.plain, o.message,
       exists (select 1 from offpath_job j where j.id = o.job)
from offpath_outbox o where o.shard = :shard and o.aside = 0 order by o.seq limit :limit

-- name: delete
delete from offpath_outbox where seq in (select value from json_each(:seqs))

-- name: waiting
-- Of these jobs, those that have not begun.
select id, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence, worker,
       cancel_at, once, watched, owner, options, retry_of, cancel_reason, flow, waits, lane
from offpath_job where id in (select value from json_each(:ids)) and state in (0, 2)

-- name: aside
-- rows: [seq, error]
update offpath_outbox set aside = 1, error = json_extract(c.value, '$[1]'), look_at = :look_at
from json_each(:rows) c where offpath_outbox.seq = json_extract(c.value, '$[0]')

-- name: wake
update offpath_job set run_at = :now
where id in (select value from json_each(:ids)) and state = 0 and run_at > :now

-- name: take_back
update offpath_outbox set job = :job, aside = 0, error = null, look_at = null
where id = :event and shard = :shard and aside = 1
  and not exists (select 1 from offpath_job j where j.id = offpath_outbox.job)

-- name: backlog
select count(*), min(created_at) from offpath_outbox where aside = 0

-- name: there
select 1 from offpath_outbox where id = :event and shard = :shard and aside = 1
union all
select 1 from offpath_outbox where shard = :shard and aside = 0 and id = :event
limit 1

-- name: erase
delete from offpath_outbox where job = :id

-- name: lose
-- Of those aside that are due for a look, the ones whose job is nowhere.
delete from offpath_outbox
where seq in (select seq from offpath_outbox where aside = 1 and look_at <= :now order by look_at limit :limit)
  and not exists (select 1 from offpath_job j where j.id = job)
  and not exists (select 1 from offpath_history h where h.id = job)

-- name: spare
-- The others: until history forgets their job, or for another hour.
update offpath_outbox
set look_at = max(:soonest, coalesce((select h.expires_at from offpath_history h where h.id = job), :later))
where seq in (select seq from offpath_outbox where aside = 1 and look_at <= :now order by look_at limit :limit)

-- name: ended
select id, task, version, args, queue, priority, outcome, run_at, key, attempt, crashes, fence, once, watched, owner,
       options, retry_of, result, error, finished_at, expires_at, flow, lane
from offpath_history where id in (select value from json_each(:ids))
