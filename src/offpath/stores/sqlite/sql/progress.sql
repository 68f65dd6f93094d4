-- Progress is the newest value on the operation and one line in its log, fenced like every write of an attempt.

-- name: guard
select exists (select 1 from offpath_job where id = :id and fence = :fence and worker = :worker and state = 3)

-- name: write
update offpath_operation set seq = seq + 1, progress = :progress, updated_at = max(:now, updated_at) where id = :id

-- name: event
insert into offpath_event (job, seq, type, at, data)
select id, seq, 'progress', :now, :progress from offpath_operation where id = :id
