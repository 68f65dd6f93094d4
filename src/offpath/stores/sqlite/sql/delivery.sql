-- Events on their way to endpoints and callback URLs; each is sent by a job.

-- name: anyone
select exists (select 1 from offpath_endpoint)

-- name: audience
-- Who is to hear of operations that have just ended.
-- rows: [operation, event type]; callbacks: [operation, event type] of those with a callback URL
select o.id, o.seq, json_extract(c.value, '$[1]'), e.id
from json_each(:rows) c
cross join offpath_operation o on o.id = json_extract(c.value, '$[0]')
cross join offpath_endpoint e on e.tenant = o.tenant and e.owner = o.owner and e.enabled
where exists (select 1 from json_each(e.events) where value = json_extract(c.value, '$[1]'))
union all
select o.id, o.seq, json_extract(c.value, '$[1]'), null
from json_each(:callbacks) c
cross join offpath_operation o on o.id = json_extract(c.value, '$[0]')

-- name: told
-- Who of an owner's is to hear of an event that is not an operation's.
select e.id from offpath_endpoint e
where e.tenant = :tenant and e.owner = :owner and e.enabled and e.id <> :id
  and exists (select 1 from json_each(e.events) where value = :event)

-- name: insert
-- rows: [id, endpoint, operation, event, sequence, body]
insert into offpath_delivery (id, message, job, endpoint, operation, event, sequence, body, state, attempts, round,
                              next_at, created_at)
select json_extract(value, '$[0]'), json_extract(value, '$[0]'), json_extract(value, '$[0]'),
       json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]'),
       json_extract(value, '$[4]'), json_extract(value, '$[5]'), 0, 0, 0, null, :now
from json_each(:rows) where true
on conflict do nothing

-- name: get
select d.id, d.message, d.job, d.endpoint, d.operation, d.event, d.sequence, d.body, d.state, d.attempts, d.round,
       d.next_at, d.created_at
from offpath_delivery d where d.id = :id

-- name: held
select d.id, d.message, d.job, d.endpoint, d.operation, d.event, d.sequence, d.body, d.state, d.attempts, d.round,
       d.next_at, d.created_at
from offpath_delivery d where d.id = :id

-- name: again
-- Those that have ended, or whose job has without a word.
select d.id, d.message, d.job, d.endpoint, d.operation, d.event, d.sequence, d.body, d.state, d.attempts, d.round,
       d.next_at, d.created_at
from offpath_delivery d
where d.endpoint = :endpoint and (:delivery is null or d.id = :delivery)
  and (:operation is null or d.operation = :operation)
  and (:since is null or (d.state <> 1 and d.created_at >= :since))
  and (d.state <> 0 or not exists (select 1 from offpath_job j where j.id = d.job))
order by d.id limit :limit

-- name: restart
-- rows: [id, job]
update offpath_delivery
set state = 0, round = attempts, next_at = null, job = json_extract(c.value, '$[1]')
from json_each(:rows) c where offpath_delivery.id = json_extract(c.value, '$[0]')

-- name: write
update offpath_delivery set state = :state, attempts = :attempts, next_at = :next_at where id = :id

-- name: close
update offpath_delivery set state = :state, next_at = null where id = :id and state = 0

-- name: attempt
insert into offpath_attempt (id, delivery, endpoint, number, at, status, latency, error, snippet)
values (:id, :delivery, :endpoint, :number, :at, :status, :latency, :error, :snippet)
on conflict do nothing

-- name: attempts
select a.id, a.delivery, a.number, a.at, a.status, a.latency, a.error, a.snippet, d.message, d.event, d.operation,
       d.state
from offpath_attempt a join offpath_delivery d on d.id = a.delivery
where a.endpoint = :endpoint and (:after is null or a.id < :after)
order by a.id desc limit :limit

-- name: attempts_back
-- Of the callback of one operation.
select a.id, a.delivery, a.number, a.at, a.status, a.latency, a.error, a.snippet, d.message, d.event, d.operation,
       d.state
from offpath_delivery d join offpath_attempt a on a.delivery = d.id
where d.operation = :operation and d.endpoint is null and (:after is null or a.id < :after)
order by a.id desc limit :limit

-- name: queued
-- The live jobs of an endpoint's pending deliveries.
select j.id, j.task, j.version, j.args, j.queue, j.priority, j.state, j.run_at, j.deadline, j.key, j.attempt, j.crashes,
       j.fence, j.worker, j.cancel_at, j.once, j.watched, j.owner, j.options, j.retry_of, j.cancel_reason,
       j.flow, j.waits, j.lane
from offpath_job j
where j.id in (select job from offpath_delivery where endpoint = :endpoint and state = 0) and j.state <> 3

-- name: stop
update offpath_delivery set state = 3, next_at = null where endpoint = :endpoint and state = 0

-- name: drop_attempts
delete from offpath_attempt where endpoint = :endpoint

-- name: drop
delete from offpath_delivery where endpoint = :endpoint

-- name: old_attempts
delete from offpath_attempt
where delivery in (select id from offpath_delivery where created_at <= :before order by created_at, id limit :limit)

-- name: old
delete from offpath_delivery
where id in (select id from offpath_delivery where created_at <= :before order by created_at, id limit :limit)
