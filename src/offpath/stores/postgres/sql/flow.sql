-- Flows (docs/decisions/0025): the row of a flow is the lock on all of it, and `waits` on it counts the parts that have
-- not ended. Whatever ends a part locks it first, flows in the order of their ids, so that what follows from the end is
-- decided by one at a time and nobody waits for a part while he holds what its holder waits for.
-- edges: [flow, parent, child, path, policy, race, spread, takes, outcome, value]; jobs: as in `find.live`

-- name: hold
select cast(id as text), task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence,
       worker, cancel_at, once, watched, owner, options, cast(retry_of as text), cancel_reason, cast(flow as text),
       waits, lane
from offpath_job where id = any(array(select cast(i as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) i))
order by id for update

-- name: try
-- Of these flows, those that are now ours, and those that are no more. What somebody else holds is left out.
with given as materialized (
    select distinct cast(i as uuid) as id from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) i order by 1
),
held as materialized (
    select h.id from given g
    cross join lateral (select id from offpath_job where id = g.id for update skip locked) h
)
select cast(id as text) from held
union all
select cast(id as text) from given g where not exists (select 1 from offpath_job j where j.id = g.id)

-- name: link
insert into offpath_edge (flow, parent, child, path, policy, race, spread, takes, outcome, value)
select cast(r ->> 0 as uuid), cast(r ->> 1 as uuid), cast(r ->> 2 as uuid), r ->> 3, cast(r ->> 4 as smallint),
       cast(r ->> 5 as smallint), cast(r ->> 6 as smallint), r ->> 7, cast(r ->> 8 as smallint), r ->> 9
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r

-- name: out
-- What leads from these parts and is not decided, and of races the others of the same place.
select cast(flow as text), cast(parent as text), cast(child as text), path, policy, race, spread,
       takes, outcome, cast(null as text)
from offpath_edge
where parent = any(array(select cast(i as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) i))
  and outcome is null
union
select cast(o.flow as text), cast(o.parent as text), cast(o.child as text), o.path, o.policy, o.race, o.spread,
       o.takes, o.outcome, cast(null as text)
from (select child, path from offpath_edge
      where parent = any(array(select cast(i as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) i))
        and race = 1 and outcome is null offset 0) e
cross join lateral (select * from offpath_edge where child = e.child and path = e.path and race = 1) o

-- name: into
select cast(flow as text), cast(parent as text), cast(child as text), path, policy, race, spread,
       takes, outcome, value
from offpath_edge
where child = any(array(select cast(i as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) i))

-- name: edges
-- A whole flow's, without what travels on them.
select cast(flow as text), cast(parent as text), cast(child as text), path, policy, race, spread,
       takes, outcome, cast(null as text)
from offpath_edge where flow = cast(:flow as uuid)

-- name: decide
-- rows: [parent, child, outcome, value]
update offpath_edge e set outcome = cast(r ->> 2 as smallint), value = r ->> 3
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
where e.parent = cast(r ->> 0 as uuid) and e.child = cast(r ->> 1 as uuid)

-- name: moot
-- Whatever becomes of these parts, nothing follows from it.
update offpath_edge set outcome = 6
where parent = any(array(select cast(i as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) i))
  and outcome is null

-- name: rest
-- The live parts of a flow. handlers: 0 none, 1 those that have been called, 2 all.
select cast(id as text), task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence,
       worker, cancel_at, once, watched, owner, options, cast(retry_of as text), cancel_reason, cast(flow as text),
       waits, lane
from offpath_job
where flow = cast(:flow as uuid) and id <> cast(:flow as uuid)
  and (cast(:handlers as integer) = 2 or (cast(:handlers as integer) = 1 and state <> 1)
       or id <> all(array(select child from offpath_edge where flow = cast(:flow as uuid) and policy = 2)))
order by id for update

-- name: move
-- rows: [id, state, waits, args, run_at]
update offpath_job j
set state = cast(r ->> 1 as smallint), waits = cast(r ->> 2 as integer), args = coalesce(r ->> 3, j.args),
    run_at = cast(r ->> 4 as bigint)
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
where j.id = cast(r ->> 0 as uuid) and j.state = 1

-- name: more
-- rows: [id, how many more it waits for]
update offpath_job j set waits = j.waits + cast(r ->> 1 as integer)
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r where j.id = cast(r ->> 0 as uuid)

-- name: close
-- rows: [flow, expires_at, whether what travelled is kept]
update offpath_edge e
set expires_at = cast(r ->> 1 as bigint), value = case when r ->> 2 = '1' then e.value end
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r where e.flow = cast(r ->> 0 as uuid)

-- name: forget
delete from offpath_edge
where ctid = any(array(select ctid from offpath_edge where expires_at <= cast(:now as bigint)
                       order by expires_at limit cast(:limit as bigint) for update skip locked))

-- name: erase
delete from offpath_edge where flow = cast(:id as uuid)

-- name: tasks
select cast(id as text), task from offpath_history
where id = any(array(select cast(i as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) i))

-- name: handler
select exists (select 1 from offpath_edge where child = cast(:id as uuid) and policy = 2)

-- name: nodes
-- [id, task, state, attempt]
select cast(id as text), task, state, attempt from offpath_job where flow = cast(:flow as uuid)
union all
select cast(id as text), task, outcome, attempt from offpath_history
where id = any(array(select cast(i as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) i))
