-- A job wherever it is: live, or in history.

-- name: live
select cast(id as text), task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence,
       worker, cancel_at, once, watched, owner, options, cast(retry_of as text), cancel_reason,
       cast(flow as text), waits, lane
from offpath_job where id = cast(:id as uuid)

-- name: held
-- The same, and nobody else changes it before this transaction ends.
select cast(id as text), task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence,
       worker, cancel_at, once, watched, owner, options, cast(retry_of as text), cancel_reason,
       cast(flow as text), waits, lane
from offpath_job where id = cast(:id as uuid) for update

-- name: finished
select cast(id as text), task, version, args, queue, priority, outcome, run_at, key, attempt, crashes, fence, once,
       watched, owner, options, cast(retry_of as text), result, error, finished_at, expires_at,
       cast(flow as text), lane
from offpath_history where id = cast(:id as uuid)
