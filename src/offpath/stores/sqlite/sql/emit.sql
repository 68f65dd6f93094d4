-- Lines of the task's own, after the operation's last number. `progress.guard` has been passed.

-- name: number
update offpath_operation set seq = seq + :count, updated_at = max(:now, updated_at) where id = :id

-- name: events
insert into offpath_event (job, seq, type, at, data)
select o.id, o.seq - :count + 1 + e.key, 'output', :now, e.value
from offpath_operation o cross join json_each(:lines) e where o.id = :id
