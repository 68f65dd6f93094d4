-- What attempts said is written in batches, every job guarded on its own: same fence, same worker, still running, and
-- the same knowledge of a cancel request as the decision had. A late worker is harmless because its fence is not the
-- row's any more. `finish` leaves out the rows that fail the guard and says how many passed; only when some did not, or
-- when the batch is mixed, `refused` names them. The rest is then removed, or put back by `back`.
-- `worker` is null for what upkeep and cancel decide about rows that they have read in the same transaction.
-- rows: [id, fence, seen_cancel, state, run_at, attempt, crashes, result, error, cancel_at, expires_at, cancel_reason]

-- name: refused
select json_group_array(json_array(c.key, j.id is not null and j.fence = json_extract(c.value, '$[1]')
                                          and j.worker is :worker and j.state = 3,
                                   j.cancel_at, j.cancel_reason))
from json_each(:rows) c
left join offpath_job j on j.id = json_extract(c.value, '$[0]')
where j.id is null or j.fence <> json_extract(c.value, '$[1]') or j.worker is not :worker or j.state <> 3
   or (j.cancel_at is not null) <> json_extract(c.value, '$[2]')

-- name: finish
insert into offpath_history (id, outcome, task, version, args, queue, priority, run_at, key, attempt, crashes, fence,
                             once, watched, owner, options, retry_of, flow, lane, result, error, finished_at, expires_at)
select j.id, json_extract(c.value, '$[3]'), j.task, j.version, j.args, j.queue, j.priority, j.run_at, j.key,
       json_extract(c.value, '$[5]'), json_extract(c.value, '$[6]'), j.fence, j.once, j.watched, j.owner, j.options,
       j.retry_of, j.flow, j.lane, json_extract(c.value, '$[7]'), json_extract(c.value, '$[8]'), :now, json_extract(c.value, '$[10]')
from json_each(:rows) c
cross join offpath_job j on j.id = json_extract(c.value, '$[0]')
where j.fence = json_extract(c.value, '$[1]') and (j.cancel_at is not null) = json_extract(c.value, '$[2]')
  and (:worker is null or (j.worker = :worker and j.state = 3))

-- name: remove
delete from offpath_job where id in (select value from json_each(:ids))

-- name: back
update offpath_job
set state = json_extract(c.value, '$[3]'), run_at = json_extract(c.value, '$[4]'),
    attempt = json_extract(c.value, '$[5]'), crashes = json_extract(c.value, '$[6]'),
    cancel_at = json_extract(c.value, '$[9]'), cancel_reason = json_extract(c.value, '$[11]'),
    worker = case when json_extract(c.value, '$[3]') = 3 then offpath_job.worker end
from json_each(:rows) c
where offpath_job.id = json_extract(c.value, '$[0]')

-- name: operations
-- events: [id, state, cancel_at, expires_at, type, data]; one event per operation and statement
update offpath_operation
set seq = seq + 1, status = json_extract(c.value, '$[1]'), cancel_at = json_extract(c.value, '$[2]'),
    updated_at = max(:now, updated_at),
    started_at = case when json_extract(c.value, '$[4]') = 'started' then coalesce(started_at, :now) else started_at end,
    progress = case when json_extract(c.value, '$[4]') = 'started' then null else progress end,
    finished_at = case when json_extract(c.value, '$[1]') >= 4 then :now end,
    expires_at = json_extract(c.value, '$[3]')
from json_each(:rows) c
where offpath_operation.id = json_extract(c.value, '$[0]')

-- name: events
insert into offpath_event (job, seq, type, at, data)
select o.id, o.seq, json_extract(c.value, '$[4]'), :now, json_extract(c.value, '$[5]')
from json_each(:rows) c
join offpath_operation o on o.id = json_extract(c.value, '$[0]')
