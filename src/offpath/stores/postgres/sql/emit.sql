-- Lines of the task's own, after the operation's last number. `progress.guard` has been passed.

-- name: number
update offpath_operation set seq = seq + cast(:count as integer), updated_at = greatest(cast(:now as bigint), updated_at)
where id = cast(:id as uuid)

-- name: events
insert into offpath_event (job, seq, type, at, data)
select o.id, o.seq - cast(:count as integer) + cast(e.n as integer), 'output', o.updated_at, e.line
from offpath_operation o
cross join jsonb_array_elements_text(cast(cast(:lines as text) as jsonb)) with ordinality as e (line, n)
where o.id = cast(:id as uuid)
