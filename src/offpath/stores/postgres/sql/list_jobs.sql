-- Newest first, from both tables; the cursor is the id.

-- name: live
select cast(id as text), task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence,
       worker, cancel_at, once, watched, owner, options, cast(retry_of as text), cancel_reason
from offpath_job j
where j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and state = any(array(select cast(r as smallint) from jsonb_array_elements_text(cast(cast(:states as text) as jsonb)) r))
  and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (cast(:task as text) is null or task = cast(:task as text))
  and (cast(:owner as text) is null or owner = cast(:owner as text))
order by j.id desc limit cast(:limit as bigint)

-- name: finished
select cast(id as text), task, version, args, queue, priority, outcome, run_at, key, attempt, crashes, fence, once,
       watched, owner, options, cast(retry_of as text), result, error, finished_at, expires_at
from offpath_history j
where j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and outcome = any(array(select cast(r as smallint) from jsonb_array_elements_text(cast(cast(:states as text) as jsonb)) r))
  and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (cast(:task as text) is null or task = cast(:task as text))
  and (cast(:owner as text) is null or owner = cast(:owner as text))
order by j.id desc limit cast(:limit as bigint)

-- name: failed
-- The dead letters: the same, over the index that holds only them.
select cast(id as text), task, version, args, queue, priority, outcome, run_at, key, attempt, crashes, fence, once,
       watched, owner, options, cast(retry_of as text), result, error, finished_at, expires_at
from offpath_history j
where outcome = 5 and j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (cast(:task as text) is null or task = cast(:task as text))
  and (cast(:owner as text) is null or owner = cast(:owner as text))
order by j.id desc limit cast(:limit as bigint)
