-- Flows (docs/decisions/0025): the row of a flow is the lock on all of it, and `waits` on it counts the parts that have
-- not ended. Whatever ends a part holds it, so that what follows from the end is decided by one at a time.
-- A writing transaction has the whole database to itself, so `hold` and `try` only read here.
-- edges: [flow, parent, child, path, policy, race, spread, takes, outcome, value]; jobs: as in `find.live`

-- name: hold
select id, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence, worker,
       cancel_at, once, watched, owner, options, retry_of, cancel_reason, flow, waits, lane
from offpath_job where id in (select value from json_each(:ids)) order by id

-- name: try
-- Of these flows, those that are now ours, and those that are no more.
select value from json_each(:ids)

-- name: link
insert into offpath_edge (flow, parent, child, path, policy, race, spread, takes, outcome, value)
select json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
       json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
       json_extract(value, '$[6]'), json_extract(value, '$[7]'), json_extract(value, '$[8]'),
       json_extract(value, '$[9]')
from json_each(:rows)

-- name: out
-- What leads from these parts and is not decided, and of races the others of the same place.
select e.flow, e.parent, e.child, e.path, e.policy, e.race, e.spread, e.takes, e.outcome, null
from json_each(:ids) i cross join offpath_edge e on e.parent = i.value
where e.outcome is null
union
select o.flow, o.parent, o.child, o.path, o.policy, o.race, o.spread, o.takes, o.outcome, null
from json_each(:ids) i cross join offpath_edge e on e.parent = i.value
cross join offpath_edge o on o.child = e.child and o.path = e.path and o.race = 1
where e.race = 1 and e.outcome is null

-- name: into
select e.flow, e.parent, e.child, e.path, e.policy, e.race, e.spread, e.takes, e.outcome, e.value
from json_each(:ids) i cross join offpath_edge e on e.child = i.value

-- name: edges
-- A whole flow's, without what travels on them.
select flow, parent, child, path, policy, race, spread, takes, outcome, null from offpath_edge where flow = :flow

-- name: decide
-- rows: [parent, child, outcome, value]
update offpath_edge set outcome = json_extract(c.value, '$[2]'), value = json_extract(c.value, '$[3]')
from json_each(:rows) c
where offpath_edge.parent = json_extract(c.value, '$[0]') and child = json_extract(c.value, '$[1]')

-- name: moot
-- Whatever becomes of these parts, nothing follows from it.
update offpath_edge set outcome = 6 where parent in (select value from json_each(:ids)) and outcome is null

-- name: rest
-- The live parts of a flow. handlers: 0 none, 1 those that have been called, 2 all.
select id, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence, worker,
       cancel_at, once, watched, owner, options, retry_of, cancel_reason, flow, waits, lane
from offpath_job
where flow = :flow and id <> :flow
  and (:handlers = 2 or (:handlers = 1 and state <> 1)
       or id not in (select child from offpath_edge where flow = :flow and policy = 2))
order by id

-- name: move
-- rows: [id, state, waits, args, run_at]
update offpath_job
set state = json_extract(c.value, '$[1]'), waits = json_extract(c.value, '$[2]'),
    args = coalesce(json_extract(c.value, '$[3]'), args), run_at = json_extract(c.value, '$[4]')
from json_each(:rows) c
where offpath_job.id = json_extract(c.value, '$[0]') and offpath_job.state = 1

-- name: more
-- rows: [id, how many more it waits for]
update offpath_job set waits = waits + json_extract(c.value, '$[1]')
from json_each(:rows) c where offpath_job.id = json_extract(c.value, '$[0]')

-- name: close
-- rows: [flow, expires_at, whether what travelled is kept]
update offpath_edge
set expires_at = json_extract(c.value, '$[1]'), value = case when json_extract(c.value, '$[2]') then offpath_edge.value end
from json_each(:rows) c where offpath_edge.flow = json_extract(c.value, '$[0]')

-- name: forget
delete from offpath_edge
where rowid in (select rowid from offpath_edge where expires_at <= :now order by expires_at limit :limit)

-- name: erase
delete from offpath_edge where flow = :id

-- name: tasks
select id, task from offpath_history where id in (select value from json_each(:ids))

-- name: handler
select exists (select 1 from offpath_edge where child = :id and policy = 2)

-- name: nodes
-- [id, task, state, attempt]
select id, task, state, attempt from offpath_job where flow = :flow
union all
select id, task, outcome, attempt from offpath_history where id in (select value from json_each(:ids))
