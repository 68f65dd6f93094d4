-- Erase what has ended: input, result, operation, log.

-- name: history
delete from offpath_history where id = cast(:id as uuid)

-- name: operation
delete from offpath_operation where id = cast(:id as uuid)

-- name: events
delete from offpath_event where job = cast(:id as uuid)
