-- What else is settled when ended jobs are run again.

-- name: flows
-- A failed flow of which a part is run again is no open dead letter any more: it cannot be run again itself.
-- rows: [id, the job that runs it again]
update offpath_history set retried_as = json_extract(r.value, '$[1]')
from json_each(:rows) r
where offpath_history.id = (select flow from offpath_history part
                            where part.id = json_extract(r.value, '$[0]') and part.flow <> part.id)

-- name: seen
-- By what it is run again already.
select retried_as from offpath_history where id = :id
