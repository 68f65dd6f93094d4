-- A job wherever it is: live, or in history.

-- name: live
select id, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence, worker,
       cancel_at, once, watched, owner, options, retry_of, cancel_reason, flow, waits,
       lane
from offpath_job where id = :id

-- name: held
-- The same, for whoever is going to change it: a writing transaction has it to itself anyway.
select id, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence, worker,
       cancel_at, once, watched, owner, options, retry_of, cancel_reason, flow, waits,
       lane
from offpath_job where id = :id

-- name: finished
select id, task, version, args, queue, priority, outcome, run_at, key, attempt, crashes, fence, once, watched, owner,
       options, retry_of, result, error, finished_at, expires_at, flow, lane
from offpath_history where id = :id
