-- Newest first, from both tables; the cursor is the id. A look goes down to `floor` and no further: see walk.sql.

-- name: live
select cast(id as text), task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence,
       worker, cancel_at, once, watched, owner, options, cast(retry_of as text), cancel_reason,
       cast(flow as text), waits, lane
from offpath_job j
where j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and j.id >= coalesce(cast(:floor as uuid), '00000000-0000-0000-0000-000000000000')
  and state = any(array(select cast(r as smallint) from jsonb_array_elements_text(cast(cast(:states as text) as jsonb)) r))
  and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (cast(:task as text) is null or task = cast(:task as text))
  and (cast(:owner as text) is null or owner = cast(:owner as text))
  and (cast(:prefix as text) is null or starts_with(key, cast(:prefix as text)))
  and j.id < coalesce(cast(:before_id as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by j.id desc limit cast(:limit as bigint)

-- name: finished
select cast(id as text), task, version, args, queue, priority, outcome, run_at, key, attempt, crashes, fence, once,
       watched, owner, options, cast(retry_of as text), result, error, finished_at, expires_at,
       cast(flow as text), lane
from offpath_history j
where j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and j.id >= coalesce(cast(:floor as uuid), '00000000-0000-0000-0000-000000000000')
  and outcome = any(array(select cast(r as smallint) from jsonb_array_elements_text(cast(cast(:states as text) as jsonb)) r))
  and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (cast(:task as text) is null or task = cast(:task as text))
  and (cast(:owner as text) is null or owner = cast(:owner as text))
  and (cast(:prefix as text) is null or starts_with(key, cast(:prefix as text)))
  and j.id < coalesce(cast(:before_id as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and (cast(:before as bigint) is null or finished_at < cast(:before as bigint))
  and (cast(:error as text) is null
       or cast(:error as text) in (cast(error as json) ->> 'kind', cast(error as json) ->> 'class'))
  and (cast(:outstanding as integer) = 0 or retried_as is null and task <> 'offpath.bulk')
order by j.id desc limit cast(:limit as bigint)

-- name: failed
-- The dead letters: the same, over the index that holds only them.
select cast(id as text), task, version, args, queue, priority, outcome, run_at, key, attempt, crashes, fence, once,
       watched, owner, options, cast(retry_of as text), result, error, finished_at, expires_at,
       cast(flow as text), lane
from offpath_history j
where outcome = 5 and j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and j.id >= coalesce(cast(:floor as uuid), '00000000-0000-0000-0000-000000000000')
  and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (cast(:task as text) is null or task = cast(:task as text))
  and (cast(:owner as text) is null or owner = cast(:owner as text))
  and (cast(:prefix as text) is null or starts_with(key, cast(:prefix as text)))
  and j.id < coalesce(cast(:before_id as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and (cast(:before as bigint) is null or finished_at < cast(:before as bigint))
  and (cast(:error as text) is null
       or cast(:error as text) in (cast(error as json) ->> 'kind', cast(error as json) ->> 'class'))
  and (cast(:outstanding as integer) = 0 or retried_as is null and task <> 'offpath.bulk')
order by j.id desc limit cast(:limit as bigint)
