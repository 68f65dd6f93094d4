-- An operation with what its job knows, live or finished.

-- name: get
select o.id, o.tenant, o.owner, o.kind, o.label, o.status, o.seq, o.progress, o.created_at, o.updated_at, o.started_at,
       o.finished_at, o.expires_at, o.expired, o.cancel_at, coalesce(j.run_at, h.run_at, o.created_at),
       coalesce(j.queue, h.queue, ''), coalesce(j.priority, h.priority, 0), coalesce(j.attempt, h.attempt, 1),
       coalesce(j.options, h.options), h.result, h.error, coalesce(j.retry_of, h.retry_of)
from offpath_operation o
left join offpath_job j on j.id = o.id
left join offpath_history h on h.id = o.id
where o.id = :id

-- name: list
select o.id, o.tenant, o.owner, o.kind, o.label, o.status, o.seq, o.progress, o.created_at, o.updated_at, o.started_at,
       o.finished_at, o.expires_at, o.expired, o.cancel_at, coalesce(j.run_at, h.run_at, o.created_at),
       coalesce(j.queue, h.queue, ''), coalesce(j.priority, h.priority, 0), coalesce(j.attempt, h.attempt, 1),
       coalesce(j.options, h.options), null, h.error, coalesce(j.retry_of, h.retry_of)
from offpath_operation o
left join offpath_job j on j.id = o.id
left join offpath_history h on h.id = o.id
where o.tenant = :tenant and o.owner = :owner and not o.expired and (:after is null or o.id < :after)
  and (:statuses is null
       or case when o.status < 3 then 'queued' when o.status = 3 and o.cancel_at is not null then 'canceling'
               when o.status = 3 then 'running' when o.status = 4 then 'succeeded' when o.status = 5 then 'failed'
               else 'canceled' end in (select value from json_each(:statuses)))
  and (:kind is null or o.kind = :kind) and (:label is null or o.label = :label)
  and (:created_after is null or o.created_at > :created_after)
  and (:created_before is null or o.created_at < :created_before)
order by o.id desc limit :limit

-- name: events
select seq, type, at, data from offpath_event where job = :id and seq > :after order by seq limit :limit
