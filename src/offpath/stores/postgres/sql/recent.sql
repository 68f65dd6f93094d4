-- What happened lately. When a job ended is in a BRIN index: it costs next to nothing where rows are appended, and of
-- each partition only the youngest blocks are read.

-- name: ended
select cast(h.id as text), h.task, h.queue, h.outcome, h.attempt, h.fence, h.run_at, h.finished_at, h.error,
       cast(h.flow as text), o.started_at
from offpath_history h left join offpath_operation o on h.watched = 1 and o.id = h.id
where h.finished_at >= cast(:since as bigint)
  and (h.finished_at > cast(:since as bigint)
       or h.id > coalesce(cast(nullif(cast(:after as text), '') as uuid), '00000000-0000-0000-0000-000000000000'))
  and (cast(:queue as text) is null or h.queue = cast(:queue as text))
  and (cast(:task as text) is null or h.task = cast(:task as text))
order by h.finished_at, h.id limit cast(:limit as bigint)

-- name: ended_of
select cast(h.id as text), h.task, h.queue, h.outcome, h.attempt, h.fence, h.run_at, h.finished_at, h.error,
       cast(h.flow as text), o.started_at
from offpath_history h left join offpath_operation o on h.watched = 1 and o.id = h.id
where h.id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))

-- name: running
select cast(j.id as text), j.task, j.queue, j.attempt, j.fence, j.worker, w.label, j.run_at, o.started_at,
       cast(j.cancel_at is not null as integer)
from offpath_job j left join offpath_worker w on w.id = j.worker
left join offpath_operation o on j.watched = 1 and o.id = j.id
where j.state = 3 and (cast(:queue as text) is null or j.queue = cast(:queue as text))
  and (cast(:task as text) is null or j.task = cast(:task as text))
order by j.run_at, j.id limit cast(:limit as bigint)

-- name: arrived
select cast(j.id as text), j.task, j.queue, j.state, j.attempt, j.fence, j.run_at, cast(j.flow as text)
from offpath_job j
where j.id > coalesce(cast(nullif(cast(:after as text), '') as uuid), '00000000-0000-0000-0000-000000000000')
  and (cast(:queue as text) is null or j.queue = cast(:queue as text))
  and (cast(:task as text) is null or j.task = cast(:task as text))
order by j.id limit cast(:limit as bigint)

-- name: live_of
select cast(j.id as text), j.task, j.queue, j.state, j.attempt, j.fence, j.run_at, cast(j.flow as text)
from offpath_job j
where j.id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))

-- name: tried
select cast(a.job as text), a.fence, a.attempt, a.label, a.started_at, a.ended_at, a.ended, a.error,
       coalesce(j.task, h.task), coalesce(j.queue, h.queue), cast(j.id is not null as integer), coalesce(j.state, 0),
       coalesce(j.run_at, 0), coalesce(j.fence, h.fence)
from offpath_job_attempt a left join offpath_job j on j.id = a.job left join offpath_history h on h.id = a.job
where a.ended_at >= cast(:since as bigint)
  and (a.ended_at > cast(:since as bigint)
       or a.job > coalesce(cast(nullif(cast(:after as text), '') as uuid), '00000000-0000-0000-0000-000000000000'))
  and coalesce(j.id, h.id) is not null
  and (cast(:queue as text) is null or coalesce(j.queue, h.queue) = cast(:queue as text))
  and (cast(:task as text) is null or coalesce(j.task, h.task) = cast(:task as text))
order by a.ended_at, a.job limit cast(:limit as bigint)

-- name: sent
select cast(a.id as text), cast(a.delivery as text), cast(a.endpoint as text), a.number, a.at, a.status, a.latency,
       a.error, d.event, cast(d.operation as text), d.state
from offpath_attempt a join offpath_delivery d on d.id = a.delivery
where a.id > coalesce(cast(nullif(cast(:after as text), '') as uuid), '00000000-0000-0000-0000-000000000000')
order by a.id limit cast(:limit as bigint)
