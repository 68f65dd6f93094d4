-- Many jobs at once, a page at a time, newest first; the cursor is the id. What a filter means is said once for jobs that
-- live and once for those that have ended; those that failed have an index of their own.

-- name: live
select id from offpath_job
where (:after is null or id < :after) and state in (select value from json_each(:states))
  and (:queue is null or queue = :queue) and (:task is null or task = :task) and (:owner is null or owner = :owner)
  and (:prefix is null or substr(key, 1, length(:prefix)) = :prefix) and (:before_id is null or id < :before_id)
order by id desc limit :limit

-- name: live_count
select count(*) from offpath_job
where (:after is null or id < :after) and state in (select value from json_each(:states))
  and (:queue is null or queue = :queue) and (:task is null or task = :task) and (:owner is null or owner = :owner)
  and (:prefix is null or substr(key, 1, length(:prefix)) = :prefix) and (:before_id is null or id < :before_id)
  and id not in (select value from json_each(:without))

-- name: ended
select id from offpath_history
where outcome in (select value from json_each(:states)) and (:after is null or id < :after)
  and (:queue is null or queue = :queue) and (:task is null or task = :task) and (:owner is null or owner = :owner)
  and (:prefix is null or substr(key, 1, length(:prefix)) = :prefix) and (:before is null or finished_at < :before)
  and (:error is null or :error in (json_extract(error, '$.kind'), json_extract(error, '$.class')))
  and (:outstanding = 0 or retried_as is null and task <> 'offpath.bulk')
order by id desc limit :limit

-- name: ended_count
select count(*) from offpath_history
where outcome in (select value from json_each(:states)) and (:after is null or id < :after)
  and (:queue is null or queue = :queue) and (:task is null or task = :task) and (:owner is null or owner = :owner)
  and (:prefix is null or substr(key, 1, length(:prefix)) = :prefix) and (:before is null or finished_at < :before)
  and (:error is null or :error in (json_extract(error, '$.kind'), json_extract(error, '$.class')))
  and (:outstanding = 0 or retried_as is null and task <> 'offpath.bulk')
  and id not in (select value from json_each(:without))

-- name: failed
select id from offpath_history indexed by offpath_history_failed
where outcome = 5 and (:after is null or id < :after)
  and (:queue is null or queue = :queue) and (:task is null or task = :task) and (:owner is null or owner = :owner)
  and (:prefix is null or substr(key, 1, length(:prefix)) = :prefix) and (:before is null or finished_at < :before)
  and (:error is null or :error in (json_extract(error, '$.kind'), json_extract(error, '$.class')))
  and (:outstanding = 0 or retried_as is null and task <> 'offpath.bulk')
order by id desc limit :limit

-- name: failed_count
select count(*) from offpath_history indexed by offpath_history_failed
where outcome = 5 and (:after is null or id < :after)
  and (:queue is null or queue = :queue) and (:task is null or task = :task) and (:owner is null or owner = :owner)
  and (:prefix is null or substr(key, 1, length(:prefix)) = :prefix) and (:before is null or finished_at < :before)
  and (:error is null or :error in (json_extract(error, '$.kind'), json_extract(error, '$.class')))
  and (:outstanding = 0 or retried_as is null and task <> 'offpath.bulk')
  and id not in (select value from json_each(:without))

-- name: held
-- For whoever is going to change them: a writing transaction has them to itself anyway.
select id, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence, worker,
       cancel_at, once, watched, owner, options, retry_of, cancel_reason, flow, waits,
       lane
from offpath_job where id in (select value from json_each(:ids))

-- name: alive
-- Of those that could not be had: those that live, and are locked by somebody.
select id from offpath_job where id in (select value from json_each(:ids))

-- name: letters
-- What has ended and has not been run again.
select id, task, version, args, queue, priority, outcome, run_at, key, attempt, crashes, fence, once, watched, owner,
       options, retry_of, result, error, finished_at, expires_at, flow, lane
from offpath_history where id in (select value from json_each(:ids)) and retried_as is null

-- name: mark
-- rows: [id, the job that runs it again]
update offpath_history set retried_as = json_extract(r.value, '$[1]')
from json_each(:rows) r where offpath_history.id = json_extract(r.value, '$[0]')

-- name: retried
select retried_as from offpath_history where id = :id

-- name: history
delete from offpath_history where id in (select value from json_each(:ids))

-- name: operations
delete from offpath_operation where id in (select value from json_each(:ids))

-- name: steps
delete from offpath_step where job in (select value from json_each(:ids))

-- name: edges
delete from offpath_edge where flow in (select value from json_each(:ids))

-- name: flows
select distinct flow from offpath_job where id in (select value from json_each(:ids)) and flow is not null order by flow
