-- What else is settled when ended jobs are run again.

-- name: flows
-- A failed flow of which a part is run again is no open dead letter any more: it cannot be run again itself.
-- rows: [id, the job that runs it again]
update offpath_history set retried_as = made.id
from (select part.flow, cast(r ->> 1 as uuid) as id
      from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
      join offpath_history part on part.id = cast(r ->> 0 as uuid) and part.flow <> part.id) made
where offpath_history.id = made.flow

-- name: seen
-- By what it is run again already: whoever asks at the same time waits, and sees that.
select cast(retried_as as text) from offpath_history where id = cast(:id as uuid)
for update
