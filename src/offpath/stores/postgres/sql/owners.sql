-- What is kept of one owner in one tenant: to be told, and to be erased. Jobs and history are walked by their primary keys:
-- an index on the owner would be paid for by every enqueue and settle (docs/decisions/0041).

-- name: live
select cast(id as text) from offpath_job
where owner = cast(:owner as text) and coalesce(cast(options as json) ->> 'tenant', '') = cast(:tenant as text) and id > coalesce(cast(:after as uuid), '00000000-0000-0000-0000-000000000000')
order by offpath_job.id limit cast(:limit as integer)

-- name: ended
select cast(id as text) from offpath_history
where owner = cast(:owner as text) and coalesce(cast(options as json) ->> 'tenant', '') = cast(:tenant as text) and id > coalesce(cast(:after as uuid), '00000000-0000-0000-0000-000000000000')
order by offpath_history.id limit cast(:limit as integer)

-- name: operations
select cast(id as text) from offpath_operation
where tenant = cast(:tenant as text) and owner = cast(:owner as text) and id > coalesce(cast(:after as uuid), '00000000-0000-0000-0000-000000000000')
order by offpath_operation.id limit cast(:limit as integer)

-- name: living
-- How many there are, and how many of them run.
select count(*), coalesce(sum(case when state = 3 then 1 else 0 end), 0) from offpath_job
where owner = cast(:owner as text) and coalesce(cast(options as json) ->> 'tenant', '') = cast(:tenant as text)

-- name: tenants
-- In which tenants there is work, or an endpoint, of somebody of that name. Reads whole tables, as what erases does.
select coalesce(cast(options as json) ->> 'tenant', '') from offpath_job where owner = cast(:owner as text)
union select coalesce(cast(options as json) ->> 'tenant', '') from offpath_history where owner = cast(:owner as text)
union select tenant from offpath_operation where owner = cast(:owner as text)
union select tenant from offpath_endpoint where owner = cast(:owner as text)
union select tenant from offpath_audit where actor = cast(:owner as text) and tenant is not null
order by 1

-- name: running
select cast(id as text) from offpath_job
where owner = cast(:owner as text) and coalesce(cast(options as json) ->> 'tenant', '') = cast(:tenant as text) and state = 3 and cancel_at is null
order by offpath_job.id limit cast(:limit as integer)

-- name: kin
-- What belongs to these jobs and has no owner of its own: parts of flows, and what sends their webhooks: the first sender
-- of a delivery has its id, the newest is named by it, and those between by one another.
select cast(id as text) from offpath_job where flow = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
union select cast(parent as text) from offpath_edge where flow = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
union select cast(child as text) from offpath_edge where flow = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
union select cast(job as text) from offpath_delivery where operation = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
union select cast(id as text) from offpath_delivery where operation = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
union select cast(retry_of as text) from offpath_job where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) and retry_of is not null
union select cast(retry_of as text) from offpath_history where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) and retry_of is not null
union select cast(retried_as as text) from offpath_history where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) and retried_as is not null

-- name: senders
-- The jobs that send to endpoints of this owner.
with page as (
    select id, job from offpath_delivery
    where endpoint in (select id from offpath_endpoint where tenant = cast(:tenant as text) and owner = cast(:owner as text))
    limit cast(:limit as integer)
)
select cast(job as text) from page union select cast(id as text) from page

-- name: read_job
select cast(id as text), task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes,
       owner, options, cast(retry_of as text), cancel_at, cancel_reason, cast(flow as text)
from offpath_job where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) order by offpath_job.id

-- name: read_ended
select cast(id as text), task, version, args, queue, priority, outcome, run_at, key, attempt, crashes, owner,
       options, cast(retry_of as text), result, error, finished_at, expires_at, cast(flow as text)
from offpath_history where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) order by offpath_history.id

-- name: read_operation
select cast(id as text), tenant, owner, kind, label, status, progress, created_at, updated_at, started_at,
       finished_at
from offpath_operation where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) order by offpath_operation.id

-- name: read_event
select cast(job as text), seq, type, at, data
from offpath_event where job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) order by offpath_event.job, offpath_event.seq

-- name: read_step
select cast(job as text), name, result, at
from offpath_step where job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) order by offpath_step.job, offpath_step.name

-- name: read_attempt
select cast(job as text), attempt, worker, started_at, ended_at, ended, error
from offpath_job_attempt where job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) order by offpath_job_attempt.job, offpath_job_attempt.fence

-- name: read_letter
select cast(id as text), cast(job as text), task, kind, source, place, size, digest, message, at
from offpath_letter where job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) order by offpath_letter.job, offpath_letter.id

-- name: read_message
select id, cast(job as text), address, subject, message, created_at
from offpath_outbox where job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) order by offpath_outbox.job, offpath_outbox.id

-- name: read_received
select task, source, id, cast(job as text), at
from offpath_inbox where job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) order by offpath_inbox.job, offpath_inbox.id

-- name: read_endpoint
select cast(id as text), tenant, owner, url, description, events, enabled, reason, created_at
from offpath_endpoint where tenant = cast(:tenant as text) and owner = cast(:owner as text) order by offpath_endpoint.id

-- name: read_delivery
-- Of these operations, and what else went to the owner's endpoints: each is told once.
select cast(id as text), message, cast(job as text), cast(endpoint as text), cast(operation as text), event, body,
       state, attempts, created_at
from offpath_delivery where operation = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
   or (endpoint in (select id from offpath_endpoint where tenant = cast(:tenant as text) and owner = cast(:owner as text))
       and (operation is null
            or operation not in (select id from offpath_operation where tenant = cast(:tenant as text) and owner = cast(:owner as text))))
order by offpath_delivery.id

-- name: read_sending
select cast(id as text), cast(delivery as text), cast(endpoint as text), number, at, status, latency, error, snippet
from offpath_attempt where delivery in (
    select id from offpath_delivery
    where endpoint in (select id from offpath_endpoint where tenant = cast(:tenant as text) and owner = cast(:owner as text))
      and (operation is null
           or operation not in (select id from offpath_operation where tenant = cast(:tenant as text) and owner = cast(:owner as text))))
   or delivery in (select id from offpath_delivery where operation = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)))
order by offpath_attempt.id

-- name: read_idempotency
select key, status, headers, body, cast(operation as text), expires_at
from offpath_idempotency where scope = cast(:scope as text) order by offpath_idempotency.key

-- name: read_audit
select cast(id as text), at, actor, action, target, data
from offpath_audit where actor = cast(:owner as text) and tenant = cast(:tenant as text) order by offpath_audit.id

-- name: hold_flows
-- The rows of the flows before those of their parts, as whoever ends a part does (docs/decisions/0025): nobody who settles
-- one of these waits for what is held here while it holds what is waited for.
select 1 from offpath_job where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) and task = 'offpath.flow' order by offpath_job.id for update

-- name: hold
select 1 from offpath_job where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) order by offpath_job.id for update

-- Erased with the jobs they are about. Each tells how many rows went.

-- name: erase_window
delete from offpath_window where (task, key) in (
    select task, key from offpath_job where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
    union select task, key from offpath_history where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)))
returning 1

-- name: erase_event
delete from offpath_event where job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) returning 1

-- name: erase_step
delete from offpath_step where job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) returning 1

-- name: erase_attempt
delete from offpath_job_attempt where job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) returning 1

-- name: erase_letter
delete from offpath_letter where job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) returning 1

-- name: erase_received
delete from offpath_inbox where job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) returning 1

-- name: erase_message
delete from offpath_outbox where job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) returning 1

-- name: erase_ticket
delete from offpath_ticket where operation = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) returning 1

-- name: erase_idempotency
delete from offpath_idempotency where operation = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) returning 1

-- name: erase_edge
delete from offpath_edge where flow = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
   or parent = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
   or child = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
returning 1

-- name: erase_sending
delete from offpath_attempt where delivery in (
    select id from offpath_delivery where operation = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
       or job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)))
returning 1

-- name: erase_delivery
delete from offpath_delivery where operation = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) or job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
returning 1

-- name: erase_operation
delete from offpath_operation where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) returning 1

-- name: erase_ended
delete from offpath_history where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) returning 1

-- name: erase_job
delete from offpath_job where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r)) returning 1

-- name: erase_audit
-- The line stays: that somebody did it. What it says of the job goes (of a job that changed many, it says nothing).
update offpath_audit set data = '{}' where target in (select jsonb_array_elements_text(cast(cast(:ids as text) as jsonb))) and data <> '{}'
  and substr(action, 1, 5) <> 'jobs.'
returning 1

-- Erased with the owner.

-- name: last_sending
delete from offpath_attempt where endpoint in (select id from offpath_endpoint where tenant = cast(:tenant as text) and owner = cast(:owner as text))
returning 1

-- name: last_delivery
delete from offpath_delivery where endpoint in (select id from offpath_endpoint where tenant = cast(:tenant as text) and owner = cast(:owner as text))
returning 1

-- name: last_endpoint
delete from offpath_endpoint where tenant = cast(:tenant as text) and owner = cast(:owner as text) returning 1

-- name: last_idempotency
delete from offpath_idempotency where scope = cast(:scope as text) returning 1

-- name: last_ticket
delete from offpath_ticket where tenant = cast(:tenant as text) and owner = cast(:owner as text) returning 1

-- name: last_audit
-- What was done to others stays as it was done.
update offpath_audit set actor = cast(:hash as text), tenant = null where actor = cast(:owner as text) and tenant = cast(:tenant as text) returning 1

-- Where others have named the owner.

-- name: named_lines
-- What was exported, and what was done to many jobs, if the owner's name may be in it.
select cast(id as text), action, target, data from offpath_audit
where action in ('jobs.cancel', 'jobs.cancel.ended', 'jobs.retry', 'jobs.retry.ended', 'jobs.delete', 'jobs.delete.ended')
  and strpos(data, cast(:quoted as text)) > 0
union all
select cast(id as text), action, target, data from offpath_audit where target = cast(:owner as text) and action = 'owner.export'

-- name: named_jobs
-- Changes of many jobs; whether the filter of one names the owner is looked at elsewhere.
select cast(id as text), args from offpath_job where task = 'offpath.bulk' and args is not null
union all
select cast(id as text), args from offpath_history where task = 'offpath.bulk' and args is not null

-- name: rename_lines
-- rows: [id, target, data]
update offpath_audit set target = r ->> 1, data = r ->> 2
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r where id = cast(r ->> 0 as uuid)

-- name: rename_live
-- rows: [id, args]
update offpath_job set args = r ->> 1
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r where id = cast(r ->> 0 as uuid)

-- name: rename_ended
-- rows: [id, args]
update offpath_history set args = r ->> 1
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r where id = cast(r ->> 0 as uuid)
  and args is not null
