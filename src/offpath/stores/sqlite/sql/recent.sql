-- What happened lately. History has no index on when a job ended: its rows are appended in that order (one writer, the
-- time taken inside its transaction), so the newest ones are read backwards until one is older.

-- name: ended
select h.id, h.task, h.queue, h.outcome, h.attempt, h.fence, h.run_at, h.finished_at, h.error, h.flow, o.started_at
from offpath_history h left join offpath_operation o on h.watched = 1 and o.id = h.id
where h.rowid > coalesce((select e.rowid from offpath_history e where e.finished_at < :since
                          order by e.rowid desc limit 1), 0)
  and (h.finished_at, h.id) > (:since, :after)
  and (:queue is null or h.queue = :queue) and (:task is null or h.task = :task)
order by h.finished_at, h.id limit :limit

-- name: ended_of
select h.id, h.task, h.queue, h.outcome, h.attempt, h.fence, h.run_at, h.finished_at, h.error, h.flow, o.started_at
from json_each(:ids) i cross join offpath_history h on h.id = i.value
left join offpath_operation o on h.watched = 1 and o.id = h.id

-- name: running
select j.id, j.task, j.queue, j.attempt, j.fence, j.worker, w.label, j.run_at, o.started_at, j.cancel_at is not null
from offpath_job j left join offpath_worker w on w.id = j.worker
left join offpath_operation o on j.watched = 1 and o.id = j.id
where j.state = 3 and (:queue is null or j.queue = :queue) and (:task is null or j.task = :task)
order by j.run_at, j.id limit :limit

-- name: arrived
select id, task, queue, state, attempt, fence, run_at, flow from offpath_job
where id > :after and (:queue is null or queue = :queue) and (:task is null or task = :task)
order by id limit :limit

-- name: live_of
select j.id, j.task, j.queue, j.state, j.attempt, j.fence, j.run_at, j.flow
from json_each(:ids) i cross join offpath_job j on j.id = i.value

-- name: tried
select a.job, a.fence, a.attempt, a.label, a.started_at, a.ended_at, a.ended, a.error,
       coalesce(j.task, h.task), coalesce(j.queue, h.queue), j.id is not null, coalesce(j.state, 0),
       coalesce(j.run_at, 0), coalesce(j.fence, h.fence)
from offpath_job_attempt a indexed by offpath_job_attempt_ended
left join offpath_job j on j.id = a.job left join offpath_history h on j.id is null and h.id = a.job
where a.ended_at >= :since and (a.ended_at > :since or a.job > :after) and coalesce(j.id, h.id) is not null
  and (:queue is null or coalesce(j.queue, h.queue) = :queue) and (:task is null or coalesce(j.task, h.task) = :task)
order by a.ended_at, a.job limit :limit

-- name: sent
select a.id, a.delivery, a.endpoint, a.number, a.at, a.status, a.latency, a.error, d.event, d.operation, d.state
from offpath_attempt a join offpath_delivery d on d.id = a.delivery
where a.id > :after order by a.id limit :limit
