-- Events on their way to endpoints and callback URLs; each is sent by a job.

-- name: anyone
select exists (select 1 from offpath_endpoint)

-- name: audience
-- Who is to hear of operations that have just ended.
-- rows: [operation, event type]; callbacks: [operation, event type] of those with a callback URL
select cast(o.id as text), o.seq, r ->> 1, cast(e.id as text)
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
join offpath_operation o on o.id = cast(r ->> 0 as uuid)
join offpath_endpoint e on e.tenant = o.tenant and e.owner = o.owner and e.enabled = 1
where cast(e.events as jsonb) @> to_jsonb(r ->> 1)
union all
select cast(o.id as text), o.seq, r ->> 1, null
from jsonb_array_elements(cast(cast(:callbacks as text) as jsonb)) r
join offpath_operation o on o.id = cast(r ->> 0 as uuid)

-- name: told
-- Who of an owner's is to hear of an event that is not an operation's.
select cast(e.id as text) from offpath_endpoint e
where e.tenant = cast(:tenant as text) and e.owner = cast(:owner as text) and e.enabled = 1
  and e.id <> cast(:id as uuid) and cast(e.events as jsonb) @> to_jsonb(cast(:event as text))

-- name: insert
-- rows: [id, endpoint, operation, event, sequence, body]
insert into offpath_delivery (id, message, job, endpoint, operation, event, sequence, body, state, attempts, round,
                              next_at, created_at)
select cast(r ->> 0 as uuid), r ->> 0, cast(r ->> 0 as uuid), cast(r ->> 1 as uuid), cast(r ->> 2 as uuid),
       r ->> 3, cast(r ->> 4 as integer), r ->> 5, 0, 0, 0, null, cast(:now as bigint)
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
on conflict do nothing

-- name: get
select cast(d.id as text), d.message, cast(d.job as text), cast(d.endpoint as text), cast(d.operation as text),
       d.event, d.sequence, d.body, d.state, d.attempts, d.round, d.next_at, d.created_at
from offpath_delivery d where d.id = cast(:id as uuid)

-- name: held
select cast(d.id as text), d.message, cast(d.job as text), cast(d.endpoint as text), cast(d.operation as text),
       d.event, d.sequence, d.body, d.state, d.attempts, d.round, d.next_at, d.created_at
from offpath_delivery d where d.id = cast(:id as uuid) for update

-- name: again
-- Those that have ended, or whose job has without a word.
select cast(d.id as text), d.message, cast(d.job as text), cast(d.endpoint as text), cast(d.operation as text),
       d.event, d.sequence, d.body, d.state, d.attempts, d.round, d.next_at, d.created_at
from offpath_delivery d
where d.endpoint = cast(:endpoint as uuid)
  and (cast(:delivery as uuid) is null or d.id = cast(:delivery as uuid))
  and (cast(:operation as uuid) is null or d.operation = cast(:operation as uuid))
  and (cast(:since as bigint) is null or (d.state <> 1 and d.created_at >= cast(:since as bigint)))
  and (d.state <> 0 or not exists (select 1 from offpath_job j where j.id = d.job))
order by d.id limit cast(:limit as bigint) for update

-- name: restart
-- rows: [id, job]
update offpath_delivery d set state = 0, round = attempts, next_at = null, job = cast(r ->> 1 as uuid)
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r where d.id = cast(r ->> 0 as uuid)

-- name: write
update offpath_delivery
set state = cast(:state as smallint), attempts = cast(:attempts as integer), next_at = cast(:next_at as bigint)
where id = cast(:id as uuid)

-- name: close
update offpath_delivery set state = cast(:state as smallint), next_at = null where id = cast(:id as uuid) and state = 0

-- name: attempt
insert into offpath_attempt (id, delivery, endpoint, number, at, status, latency, error, snippet)
values (cast(:id as uuid), cast(:delivery as uuid), cast(:endpoint as uuid), cast(:number as integer),
        cast(:at as bigint), cast(:status as integer), cast(:latency as bigint), cast(:error as text),
        cast(:snippet as text))
on conflict do nothing

-- name: attempts
select cast(a.id as text), cast(a.delivery as text), a.number, a.at, a.status, a.latency, a.error, a.snippet, d.message,
       d.event, cast(d.operation as text), d.state
from offpath_attempt a join offpath_delivery d on d.id = a.delivery
where a.endpoint = cast(:endpoint as uuid)
  and a.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by a.id desc limit cast(:limit as bigint)

-- name: attempts_back
-- Of the callback of one operation.
select cast(a.id as text), cast(a.delivery as text), a.number, a.at, a.status, a.latency, a.error, a.snippet, d.message,
       d.event, cast(d.operation as text), d.state
from offpath_delivery d join offpath_attempt a on a.delivery = d.id
where d.operation = cast(:operation as uuid) and d.endpoint is null
  and a.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by a.id desc limit cast(:limit as bigint)

-- name: queued
-- The live jobs of an endpoint's pending deliveries; what somebody has locked is being sent, or ends by itself.
select cast(j.id as text), j.task, j.version, j.args, j.queue, j.priority, j.state, j.run_at, j.deadline, j.key,
       j.attempt, j.crashes, j.fence, j.worker, j.cancel_at, j.once, j.watched, j.owner, j.options,
       cast(j.retry_of as text), j.cancel_reason, cast(j.flow as text), j.waits, j.lane
from offpath_job j
where j.id = any(array(select job from offpath_delivery where endpoint = cast(:endpoint as uuid) and state = 0))
  and j.state <> 3
for update skip locked

-- name: stop
update offpath_delivery set state = 3, next_at = null where endpoint = cast(:endpoint as uuid) and state = 0

-- name: drop_attempts
delete from offpath_attempt where endpoint = cast(:endpoint as uuid)

-- name: drop
delete from offpath_delivery where endpoint = cast(:endpoint as uuid)

-- name: old_attempts
delete from offpath_attempt
where delivery = any(array(select id from offpath_delivery where created_at <= cast(:before as bigint)
                           order by created_at, id limit cast(:limit as bigint)))

-- name: old
delete from offpath_delivery
where id = any(array(select id from offpath_delivery where created_at <= cast(:before as bigint)
                     order by created_at, id limit cast(:limit as bigint)))
