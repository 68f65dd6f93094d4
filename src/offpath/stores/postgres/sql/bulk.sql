-- Many jobs at once, a page at a time, newest first; the cursor is the id. What a filter means is said once for jobs that
-- live and once for those that have ended; those that failed have an index of their own.

-- name: live
select cast(j.id as text) from offpath_job j
where j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (cast(:task as text) is null or task = cast(:task as text))
  and (cast(:owner as text) is null or owner = cast(:owner as text))
  and (cast(:prefix as text) is null or starts_with(key, cast(:prefix as text)))
  and state = any(array(select cast(r as smallint) from jsonb_array_elements_text(cast(cast(:states as text) as jsonb)) r))
  and j.id < coalesce(cast(:before_id as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by j.id desc limit cast(:limit as bigint)

-- name: live_count
select count(*) from offpath_job j
where j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (cast(:task as text) is null or task = cast(:task as text))
  and (cast(:owner as text) is null or owner = cast(:owner as text))
  and (cast(:prefix as text) is null or starts_with(key, cast(:prefix as text)))
  and state = any(array(select cast(r as smallint) from jsonb_array_elements_text(cast(cast(:states as text) as jsonb)) r))
  and j.id < coalesce(cast(:before_id as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and not j.id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:without as text) as jsonb)) r))

-- name: ended
select cast(j.id as text) from offpath_history j
where outcome = any(array(select cast(r as smallint) from jsonb_array_elements_text(cast(cast(:states as text) as jsonb)) r))
  and j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (cast(:task as text) is null or task = cast(:task as text))
  and (cast(:owner as text) is null or owner = cast(:owner as text))
  and (cast(:prefix as text) is null or starts_with(key, cast(:prefix as text)))
  and (cast(:before as bigint) is null or finished_at < cast(:before as bigint))
  and (cast(:error as text) is null
       or cast(:error as text) in (cast(error as json) ->> 'kind', cast(error as json) ->> 'class'))
  and (cast(:outstanding as integer) = 0 or retried_as is null and task <> 'offpath.bulk')
order by j.id desc limit cast(:limit as bigint)

-- name: ended_count
select count(*) from offpath_history j
where outcome = any(array(select cast(r as smallint) from jsonb_array_elements_text(cast(cast(:states as text) as jsonb)) r))
  and j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (cast(:task as text) is null or task = cast(:task as text))
  and (cast(:owner as text) is null or owner = cast(:owner as text))
  and (cast(:prefix as text) is null or starts_with(key, cast(:prefix as text)))
  and (cast(:before as bigint) is null or finished_at < cast(:before as bigint))
  and (cast(:error as text) is null
       or cast(:error as text) in (cast(error as json) ->> 'kind', cast(error as json) ->> 'class'))
  and (cast(:outstanding as integer) = 0 or retried_as is null and task <> 'offpath.bulk')
  and not j.id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:without as text) as jsonb)) r))

-- name: failed
select cast(j.id as text) from offpath_history j
where outcome = 5 and j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (cast(:task as text) is null or task = cast(:task as text))
  and (cast(:owner as text) is null or owner = cast(:owner as text))
  and (cast(:prefix as text) is null or starts_with(key, cast(:prefix as text)))
  and (cast(:before as bigint) is null or finished_at < cast(:before as bigint))
  and (cast(:error as text) is null
       or cast(:error as text) in (cast(error as json) ->> 'kind', cast(error as json) ->> 'class'))
  and (cast(:outstanding as integer) = 0 or retried_as is null and task <> 'offpath.bulk')
order by j.id desc limit cast(:limit as bigint)

-- name: failed_count
select count(*) from offpath_history j
where outcome = 5 and j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (cast(:task as text) is null or task = cast(:task as text))
  and (cast(:owner as text) is null or owner = cast(:owner as text))
  and (cast(:prefix as text) is null or starts_with(key, cast(:prefix as text)))
  and (cast(:before as bigint) is null or finished_at < cast(:before as bigint))
  and (cast(:error as text) is null
       or cast(:error as text) in (cast(error as json) ->> 'kind', cast(error as json) ->> 'class'))
  and (cast(:outstanding as integer) = 0 or retried_as is null and task <> 'offpath.bulk')
  and not j.id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:without as text) as jsonb)) r))

-- name: held
-- Nobody else changes them before this transaction ends; what somebody has locked is left out.
select cast(id as text), task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence,
       worker, cancel_at, once, watched, owner, options, cast(retry_of as text), cancel_reason,
       cast(flow as text), waits, lane
from offpath_job
where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
for update skip locked

-- name: alive
-- Of those that could not be had: those that live, and are locked by somebody.
select cast(id as text) from offpath_job
where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))

-- name: letters
-- What has ended and has not been run again; whoever else wants to do that is done first, or is left alone.
select cast(id as text), task, version, args, queue, priority, outcome, run_at, key, attempt, crashes, fence, once,
       watched, owner, options, cast(retry_of as text), result, error, finished_at, expires_at,
       cast(flow as text), lane
from offpath_history
where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
  and retried_as is null
for update skip locked

-- name: mark
-- rows: [id, the job that runs it again]
update offpath_history set retried_as = cast(r ->> 1 as uuid)
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r where id = cast(r ->> 0 as uuid)

-- name: retried
select cast(retried_as as text) from offpath_history where id = cast(:id as uuid)

-- name: history
delete from offpath_history
where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))

-- name: operations
delete from offpath_operation
where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))

-- name: steps
delete from offpath_step where job = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))

-- name: edges
delete from offpath_edge where flow = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))

-- name: flows
select cast(flow as text)
from (select distinct flow from offpath_job where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
      and flow is not null) flown
order by flow
