-- One narrow row per worker process. Death is a verdict written on it, never a moment in time: a worker that was late
-- but not judged may still renew.

-- name: register
insert into offpath_worker (id, expires_at, lapsed_at, tasks, label) values (:worker, :until, null, :tasks, :label)

-- name: renew
update offpath_worker set expires_at = :until where id = :worker and lapsed_at is null

-- name: judge
update offpath_worker set lapsed_at = :now where lapsed_at is null and expires_at <= :now

-- name: lapsed
select id from offpath_worker where lapsed_at is not null

-- name: known
select distinct tasks from offpath_worker where lapsed_at is null

-- name: resign
update offpath_worker set lapsed_at = :now, expires_at = :now where id = :worker and lapsed_at is null

-- name: gone
delete from offpath_worker
where id = :worker and lapsed_at is not null
  and not exists (select 1 from offpath_job where state = 3 and worker = :worker)
