-- How it is going: for `offpath doctor`, which may take its time.

-- name: workers
select id, label, expires_at, lapsed_at from offpath_worker order by id

-- name: part
-- The next jobs by id: those that are alike, who holds them, and whether he is there, at one moment.
select queue, task, state, count(*), min(run_at), version, worker,
       worker is null or worker in (select id from offpath_worker), max(id)
from (select id, queue, task, state, run_at, version, worker from offpath_job
      where id > :after order by id limit :limit)
group by queue, task, state, version, worker

-- name: failed
-- By task: those that were not run again, and those that were. A flow fails by a part that fails: it is counted as that.
select task, sum(retried_as is null), count(retried_as)
from (select task, retried_as from offpath_history
      where outcome = 5 and finished_at >= :since and task <> :flow limit :limit)
group by task order by 2 desc, task
