-- Progress is the newest value on the operation and one line in its log, fenced like every write of an attempt.

-- name: guard
-- FOR SHARE: with less, a late write could land after a new claim.
select 1 from offpath_job
where id = cast(:id as uuid) and fence = cast(:fence as bigint) and worker = cast(:worker as text) and state = 3
for share

-- name: write
update offpath_operation
set seq = seq + 1, progress = cast(:progress as text), updated_at = greatest(cast(:now as bigint), updated_at)
where id = cast(:id as uuid)

-- name: event
insert into offpath_event (job, seq, type, at, data)
select id, seq, 'progress', updated_at, cast(:progress as text)
from offpath_operation where id = cast(:id as uuid)
