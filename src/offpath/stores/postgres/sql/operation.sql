-- An operation with what its job knows, live or finished. Its expiry says which partition of history to look in.

-- name: get
select cast(o.id as text), o.tenant, o.owner, o.kind, o.label, o.status, o.seq, o.progress, o.created_at, o.updated_at,
       o.started_at, o.finished_at, o.expires_at, o.expired, o.cancel_at, coalesce(j.run_at, h.run_at, o.created_at),
       coalesce(j.queue, h.queue, ''), coalesce(j.priority, h.priority, 0), coalesce(j.attempt, h.attempt, 1),
       coalesce(j.options, h.options), h.result, h.error, cast(coalesce(j.retry_of, h.retry_of) as text)
from offpath_operation o
left join offpath_job j on j.id = o.id
left join offpath_history h on h.id = o.id and o.expired = 0
     and h.expires_on = coalesce(date '1970-01-01' + cast(o.expires_at / 86400000000 as integer), date '9999-12-31')
where o.id = cast(:id as uuid)

-- name: list
select cast(o.id as text), o.tenant, o.owner, o.kind, o.label, o.status, o.seq, o.progress, o.created_at, o.updated_at,
       o.started_at, o.finished_at, o.expires_at, o.expired, o.cancel_at, coalesce(j.run_at, h.run_at, o.created_at),
       coalesce(j.queue, h.queue, ''), coalesce(j.priority, h.priority, 0), coalesce(j.attempt, h.attempt, 1),
       coalesce(j.options, h.options), null, h.error, cast(coalesce(j.retry_of, h.retry_of) as text)
from offpath_operation o
left join offpath_job j on j.id = o.id
left join offpath_history h on h.id = o.id and o.expired = 0
     and h.expires_on = coalesce(date '1970-01-01' + cast(o.expires_at / 86400000000 as integer), date '9999-12-31')
where o.tenant = cast(:tenant as text) and o.owner = cast(:owner as text) and o.expired = 0
  and o.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and (cast(:statuses as text) is null
       or case when o.status < 3 then 'queued' when o.status = 3 and o.cancel_at is not null then 'canceling'
               when o.status = 3 then 'running' when o.status = 4 then 'succeeded' when o.status = 5 then 'failed'
               else 'canceled' end
          in (select jsonb_array_elements_text(cast(cast(:statuses as text) as jsonb))))
  and (cast(:kind as text) is null or o.kind = cast(:kind as text))
  and (cast(:label as text) is null or o.label = cast(:label as text))
  and (cast(:created_after as bigint) is null or o.created_at > cast(:created_after as bigint))
  and (cast(:created_before as bigint) is null or o.created_at < cast(:created_before as bigint))
order by o.id desc limit cast(:limit as bigint)

-- name: events
select seq, type, at, data from offpath_event
where job = cast(:id as uuid) and seq > cast(:after as integer) order by seq limit cast(:limit as bigint)
