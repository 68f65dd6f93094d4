-- Erase what has ended: input, result, operation, log.

-- name: history
delete from offpath_history where id = :id

-- name: operation
delete from offpath_operation where id = :id

-- name: events
delete from offpath_event where job = :id
