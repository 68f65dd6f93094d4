-- How it is going: for `offpath doctor`, which may take its time.

-- name: workers
select id, label, expires_at, lapsed_at from offpath_worker order by id

-- name: running
-- Who holds how many jobs, and whether he is there, at one moment.
select r.worker, r.jobs, r.worker in (select id from offpath_worker)
from (select worker, count(*) as jobs from offpath_job where state = 3 group by worker) r

-- name: failed
select task, count(*)
from (select task from offpath_history where outcome = 5 and finished_at >= :since limit :limit)
group by task order by count(*) desc, task
