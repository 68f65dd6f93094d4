-- A worker takes ready jobs, in order of priority and time, in three steps under one BEGIN IMMEDIATE:
-- due jobs become ready, a page is read as ONE row (a row at a time would take the interpreter's lock once per row),
-- and that page is marked: running, ours, fence raised. From then on only this worker with this fence may write.
-- From a queue that is paused nothing is taken.

-- name: alive
select lapsed_at is null from offpath_worker where id = :worker

-- name: promote
update offpath_job set state = 2
where rowid in (select rowid from offpath_job where state = 0 and run_at <= :now order by run_at limit 1000)

-- name: take
select json_group_array(json_array(rowid, id, task, version, args, queue, priority, run_at, deadline, key, attempt,
                                   crashes, fence, once, watched, owner, options, retry_of,
                                   flow, lane))
from (select rowid, * from offpath_job
      where state = 2 and lane is null and queue = :queue
        and task || '@' || version in (select value from json_each(:tasks))
        and crashes <= :crashes and once <= :once
        and not exists (select 1 from offpath_queue where name = :queue and paused_at is not null)
      order by priority, run_at, rowid
      limit :limit)

-- name: mark
update offpath_job set state = 3, worker = :worker, fence = fence + 1
where rowid in (select value from json_each(:rows))
