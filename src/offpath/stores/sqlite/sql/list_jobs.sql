-- Newest first, from both tables; the cursor is the id. A look goes down to `floor` and no further: see walk.sql.

-- name: live
select id, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence, worker,
       cancel_at, once, watched, owner, options, retry_of, cancel_reason, flow, waits,
       lane
from offpath_job
where id < min(coalesce(:after, 'g'), coalesce(:before_id, 'g'))
  and id >= coalesce(:floor, '') and state in (select value from json_each(:states))
  and (:queue is null or queue = :queue) and (:task is null or task = :task) and (:owner is null or owner = :owner)
  and (:prefix is null or substr(key, 1, length(:prefix)) = :prefix)
order by id desc limit :limit

-- name: finished
select id, task, version, args, queue, priority, outcome, run_at, key, attempt, crashes, fence, once, watched, owner,
       options, retry_of, result, error, finished_at, expires_at, flow, lane
from offpath_history
where id < min(coalesce(:after, 'g'), coalesce(:before_id, 'g'))
  and id >= coalesce(:floor, '') and outcome in (select value from json_each(:states))
  and (:queue is null or queue = :queue) and (:task is null or task = :task) and (:owner is null or owner = :owner)
  and (:prefix is null or substr(key, 1, length(:prefix)) = :prefix)
  and (:before is null or finished_at < :before)
  and (:error is null or :error in (json_extract(error, '$.kind'), json_extract(error, '$.class')))
  and (:outstanding = 0 or retried_as is null and task <> 'offpath.bulk')
order by id desc limit :limit

-- name: failed
-- The dead letters: the same, over the index that holds only them.
select id, task, version, args, queue, priority, outcome, run_at, key, attempt, crashes, fence, once, watched, owner,
       options, retry_of, result, error, finished_at, expires_at, flow, lane
from offpath_history indexed by offpath_history_failed
where outcome = 5 and id < min(coalesce(:after, 'g'), coalesce(:before_id, 'g')) and id >= coalesce(:floor, '')
  and (:queue is null or queue = :queue) and (:task is null or task = :task) and (:owner is null or owner = :owner)
  and (:prefix is null or substr(key, 1, length(:prefix)) = :prefix)
  and (:before is null or finished_at < :before)
  and (:error is null or :error in (json_extract(error, '$.kind'), json_extract(error, '$.class')))
  and (:outstanding = 0 or retried_as is null and task <> 'offpath.bulk')
order by id desc limit :limit
