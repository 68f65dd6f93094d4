-- What is kept of one owner in one tenant: to be told, and to be erased. Jobs and history are walked by their primary keys:
-- an index on the owner would be paid for by every enqueue and settle (docs/decisions/0041).

-- name: live
select id from offpath_job
where owner = :owner and coalesce(json_extract(options, '$.tenant'), '') = :tenant and id > coalesce(:after, '')
order by offpath_job.id limit :limit

-- name: ended
select id from offpath_history
where owner = :owner and coalesce(json_extract(options, '$.tenant'), '') = :tenant and id > coalesce(:after, '')
order by offpath_history.id limit :limit

-- name: operations
select id from offpath_operation
where tenant = :tenant and owner = :owner and id > coalesce(:after, '')
order by offpath_operation.id limit :limit

-- name: living
-- How many there are, and how many of them run.
select count(*), coalesce(sum(case when state = 3 then 1 else 0 end), 0) from offpath_job
where owner = :owner and coalesce(json_extract(options, '$.tenant'), '') = :tenant

-- name: tenants
-- In which tenants there is work, or an endpoint, of somebody of that name. Reads whole tables, as what erases does.
select coalesce(json_extract(options, '$.tenant'), '') from offpath_job where owner = :owner
union select coalesce(json_extract(options, '$.tenant'), '') from offpath_history where owner = :owner
union select tenant from offpath_operation where owner = :owner
union select tenant from offpath_endpoint where owner = :owner
union select tenant from offpath_audit where actor = :owner and tenant is not null
order by 1

-- name: running
select id from offpath_job
where owner = :owner and coalesce(json_extract(options, '$.tenant'), '') = :tenant and state = 3 and cancel_at is null
order by offpath_job.id limit :limit

-- name: kin
-- What belongs to these jobs and has no owner of its own: parts of flows, and what sends their webhooks: the first sender
-- of a delivery has its id, the newest is named by it, and those between by one another.
select id from offpath_job where flow in (select value from json_each(:ids))
union select parent from offpath_edge where flow in (select value from json_each(:ids))
union select child from offpath_edge where flow in (select value from json_each(:ids))
union select job from offpath_delivery where operation in (select value from json_each(:ids))
union select id from offpath_delivery where operation in (select value from json_each(:ids))
union select retry_of from offpath_job where id in (select value from json_each(:ids)) and retry_of is not null
union select retry_of from offpath_history where id in (select value from json_each(:ids)) and retry_of is not null
union select retried_as from offpath_history where id in (select value from json_each(:ids)) and retried_as is not null

-- name: senders
-- The jobs that send to endpoints of this owner.
with page as (
    select id, job from offpath_delivery
    where endpoint in (select id from offpath_endpoint where tenant = :tenant and owner = :owner)
    limit :limit
)
select job from page union select id from page

-- name: read_job
select id, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, owner, options,
       retry_of, cancel_at, cancel_reason, flow
from offpath_job where id in (select value from json_each(:ids)) order by id

-- name: read_ended
select id, task, version, args, queue, priority, outcome, run_at, key, attempt, crashes, owner, options, retry_of,
       result, error, finished_at, expires_at, flow
from offpath_history where id in (select value from json_each(:ids)) order by id

-- name: read_operation
select id, tenant, owner, kind, label, status, progress, created_at, updated_at, started_at, finished_at
from offpath_operation where id in (select value from json_each(:ids)) order by id

-- name: read_event
select job, seq, type, at, data
from offpath_event where job in (select value from json_each(:ids)) order by job, seq

-- name: read_step
select job, name, result, at
from offpath_step where job in (select value from json_each(:ids)) order by job, name

-- name: read_attempt
select job, attempt, worker, started_at, ended_at, ended, error
from offpath_job_attempt where job in (select value from json_each(:ids)) order by job, fence

-- name: read_letter
select id, job, task, kind, source, place, size, digest, message, at
from offpath_letter where job in (select value from json_each(:ids)) order by job, id

-- name: read_message
select id, job, address, subject, message, created_at
from offpath_outbox where job in (select value from json_each(:ids)) order by job, id

-- name: read_received
select task, source, id, job, at
from offpath_inbox where job in (select value from json_each(:ids)) order by job, id

-- name: read_endpoint
select id, tenant, owner, url, description, events, enabled, reason, created_at
from offpath_endpoint where tenant = :tenant and owner = :owner order by offpath_endpoint.id

-- name: read_delivery
-- Of these operations, and what else went to the owner's endpoints: each is told once.
select id, message, job, endpoint, operation, event, body, state, attempts, created_at
from offpath_delivery where operation in (select value from json_each(:ids))
   or (endpoint in (select id from offpath_endpoint where tenant = :tenant and owner = :owner)
       and (operation is null
            or operation not in (select id from offpath_operation where tenant = :tenant and owner = :owner)))
order by offpath_delivery.id

-- name: read_sending
select id, delivery, endpoint, number, at, status, latency, error, snippet
from offpath_attempt where delivery in (
    select id from offpath_delivery
    where endpoint in (select id from offpath_endpoint where tenant = :tenant and owner = :owner)
      and (operation is null
           or operation not in (select id from offpath_operation where tenant = :tenant and owner = :owner)))
   or delivery in (select id from offpath_delivery where operation in (select value from json_each(:ids)))
order by offpath_attempt.id

-- name: read_idempotency
select key, status, headers, body, operation, expires_at
from offpath_idempotency where scope = :scope order by offpath_idempotency.key

-- name: read_audit
select id, at, actor, action, target, data
from offpath_audit where actor = :owner and tenant = :tenant order by offpath_audit.id

-- name: hold_flows
-- The rows of the flows before those of their parts, as whoever ends a part does (docs/decisions/0025): nobody who settles
-- one of these waits for what is held here while it holds what is waited for.
select 1 from offpath_job where id in (select value from json_each(:ids)) and task = 'offpath.flow' order by offpath_job.id

-- name: hold
select 1 from offpath_job where id in (select value from json_each(:ids)) order by offpath_job.id

-- Erased with the jobs they are about. Each tells how many rows went.

-- name: erase_window
delete from offpath_window where (task, key) in (
    select task, key from offpath_job where id in (select value from json_each(:ids))
    union select task, key from offpath_history where id in (select value from json_each(:ids)))
returning 1

-- name: erase_event
delete from offpath_event where job in (select value from json_each(:ids)) returning 1

-- name: erase_step
delete from offpath_step where job in (select value from json_each(:ids)) returning 1

-- name: erase_attempt
delete from offpath_job_attempt where job in (select value from json_each(:ids)) returning 1

-- name: erase_letter
delete from offpath_letter where job in (select value from json_each(:ids)) returning 1

-- name: erase_received
delete from offpath_inbox where job in (select value from json_each(:ids)) returning 1

-- name: erase_message
delete from offpath_outbox where job in (select value from json_each(:ids)) returning 1

-- name: erase_ticket
delete from offpath_ticket where operation in (select value from json_each(:ids)) returning 1

-- name: erase_idempotency
delete from offpath_idempotency where operation in (select value from json_each(:ids)) returning 1

-- name: erase_edge
delete from offpath_edge where flow in (select value from json_each(:ids))
   or parent in (select value from json_each(:ids))
   or child in (select value from json_each(:ids))
returning 1

-- name: erase_sending
delete from offpath_attempt where delivery in (
    select id from offpath_delivery where operation in (select value from json_each(:ids))
       or job in (select value from json_each(:ids)))
returning 1

-- name: erase_delivery
delete from offpath_delivery where operation in (select value from json_each(:ids)) or job in (select value from json_each(:ids))
returning 1

-- name: erase_operation
delete from offpath_operation where id in (select value from json_each(:ids)) returning 1

-- name: erase_ended
delete from offpath_history where id in (select value from json_each(:ids)) returning 1

-- name: erase_job
delete from offpath_job where id in (select value from json_each(:ids)) returning 1

-- name: erase_audit
-- The line stays: that somebody did it. What it says of the job goes (of a job that changed many, it says nothing).
update offpath_audit set data = '{}' where target in (select value from json_each(:ids)) and data <> '{}'
  and substr(action, 1, 5) <> 'jobs.'
returning 1

-- Erased with the owner.

-- name: last_sending
delete from offpath_attempt where endpoint in (select id from offpath_endpoint where tenant = :tenant and owner = :owner)
returning 1

-- name: last_delivery
delete from offpath_delivery where endpoint in (select id from offpath_endpoint where tenant = :tenant and owner = :owner)
returning 1

-- name: last_endpoint
delete from offpath_endpoint where tenant = :tenant and owner = :owner returning 1

-- name: last_idempotency
delete from offpath_idempotency where scope = :scope returning 1

-- name: last_ticket
delete from offpath_ticket where tenant = :tenant and owner = :owner returning 1

-- name: last_audit
-- What was done to others stays as it was done.
update offpath_audit set actor = :hash, tenant = null where actor = :owner and tenant = :tenant returning 1

-- Where others have named the owner.

-- name: named_lines
-- What was exported, and what was done to many jobs, if the owner's name may be in it.
select id, action, target, data from offpath_audit
where action in ('jobs.cancel', 'jobs.cancel.ended', 'jobs.retry', 'jobs.retry.ended', 'jobs.delete', 'jobs.delete.ended')
  and instr(data, :quoted) > 0
union all
select id, action, target, data from offpath_audit where target = :owner and action = 'owner.export'

-- name: named_jobs
-- Changes of many jobs; whether the filter of one names the owner is looked at elsewhere.
select id, args from offpath_job where task = 'offpath.bulk' and args is not null
union all
select id, args from offpath_history where task = 'offpath.bulk' and args is not null

-- name: rename_lines
-- rows: [id, target, data]
update offpath_audit set target = json_extract(r.value, '$[1]'), data = json_extract(r.value, '$[2]')
from json_each(:rows) r where offpath_audit.id = json_extract(r.value, '$[0]')

-- name: rename_live
-- rows: [id, args]
update offpath_job set args = json_extract(r.value, '$[1]')
from json_each(:rows) r where offpath_job.id = json_extract(r.value, '$[0]')

-- name: rename_ended
-- rows: [id, args]
update offpath_history set args = json_extract(r.value, '$[1]')
from json_each(:rows) r where offpath_history.id = json_extract(r.value, '$[0]')
  and args is not null
