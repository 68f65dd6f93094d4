-- What attempts said is written in batches, every job guarded on its own: same fence, same worker, still running, and
-- the same knowledge of a cancel request as the decision had. A late worker is harmless because its fence is not the
-- row's any more.
-- `end` is the hot one, alone in its transaction: jobs that nobody watches have ended, and move to history at once.
-- The others share one: `refused` locks what passes and names what does not (a row that somebody else has locked has
-- changed, or is about to), then it is copied to history and removed, or put back.
-- `worker` is null for what upkeep and cancel decide about rows that they have locked in the same transaction.
-- rows: [id, fence, seen_cancel, state, run_at, attempt, crashes, result, error, cancel_at, expires_at, cancel_reason]

-- name: end
-- One row: how many passed, and when not all did, the ids of those that did.
with given as materialized (
    select cast(r ->> 0 as uuid) as id, cast(r ->> 1 as bigint) as fence, r ->> 2 = '1' as seen,
           cast(r ->> 3 as smallint) as outcome, cast(r ->> 5 as integer) as attempt,
           cast(r ->> 6 as integer) as crashes, r ->> 7 as result, r ->> 8 as error,
           cast(r ->> 10 as bigint) as expires_at
    from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
),
removed as (
    delete from offpath_job j using given g
    where j.id = g.id and j.fence = g.fence and j.worker = cast(:worker as text) and j.state = 3
      and (j.cancel_at is not null) = g.seen
    returning j.id, g.outcome, j.task, j.version, j.args, j.queue, j.priority, j.run_at, j.key, g.attempt, g.crashes,
              j.fence, j.once, j.watched, j.owner, j.options, j.retry_of, j.flow, j.lane, g.result, g.error,
              g.expires_at
),
kept as (
    insert into offpath_history (id, outcome, task, version, args, queue, priority, run_at, key, attempt, crashes, fence,
                                 once, watched, owner, options, retry_of, flow, lane, result, error, expires_at, finished_at,
                                 expires_on)
    select *, cast(extract(epoch from now()) * 1000000 as bigint),
           coalesce(date '1970-01-01' + cast(expires_at / 86400000000 as integer), date '9999-12-31')
    from removed
    returning id
)
select count(*),
       case when count(*) < cast(:count as bigint) then cast(coalesce((select json_agg(id) from kept), '[]') as text) end
from kept

-- name: end_recorded
-- The same, where some of them have attempts to be remembered; rows: […, [attempt, worker, ended, started_at, error]]
with given as materialized (
    select cast(r ->> 0 as uuid) as id, cast(r ->> 1 as bigint) as fence, r ->> 2 = '1' as seen,
           cast(r ->> 3 as smallint) as outcome, cast(r ->> 5 as integer) as attempt,
           cast(r ->> 6 as integer) as crashes, r ->> 7 as result, r ->> 8 as error,
           cast(r ->> 10 as bigint) as expires_at, r -> 12 as record
    from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
),
removed as (
    delete from offpath_job j using given g
    where j.id = g.id and j.fence = g.fence and j.worker = cast(:worker as text) and j.state = 3
      and (j.cancel_at is not null) = g.seen
    returning j.id, g.outcome, j.task, j.version, j.args, j.queue, j.priority, j.run_at, j.key, g.attempt, g.crashes,
              j.fence, j.once, j.watched, j.owner, j.options, j.retry_of, j.flow, j.lane, g.result, g.error,
              g.expires_at
),
kept as (
    insert into offpath_history (id, outcome, task, version, args, queue, priority, run_at, key, attempt, crashes, fence,
                                 once, watched, owner, options, retry_of, flow, lane, result, error, expires_at, finished_at,
                                 expires_on)
    select *, cast(extract(epoch from now()) * 1000000 as bigint),
           coalesce(date '1970-01-01' + cast(expires_at / 86400000000 as integer), date '9999-12-31')
    from removed
    returning id, finished_at
),
recorded as (
    insert into offpath_job_attempt (job, fence, attempt, worker, label, started_at, ended_at, ended, error, look_at)
    select k.id, g.fence, cast(g.record ->> 0 as integer), g.record ->> 1,
           (select label from offpath_worker where id = g.record ->> 1), cast(g.record ->> 3 as bigint),
           k.finished_at, g.record ->> 2, g.record ->> 4, k.finished_at + 86400000000
    from kept k join given g on g.id = k.id
    where jsonb_typeof(g.record) = 'array'
    on conflict do nothing
)
select count(*),
       case when count(*) < cast(:count as bigint) then cast(coalesce((select json_agg(id) from kept), '[]') as text) end
from kept

-- name: refused
with given as materialized (
    select n - 1 as n, cast(r ->> 0 as uuid) as id, cast(r ->> 1 as bigint) as fence, r ->> 2 = '1' as seen
    from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) with ordinality as e (r, n)
    order by 2
),
held as materialized (
    select g.n, g.id, g.fence, g.seen, h.id is null as missed, h.cancel_at, h.cancel_reason,
           h.id is not null and h.fence = g.fence and h.worker = cast(:worker as text) and h.state = 3 as ours
    from given g
    left join lateral (select * from offpath_job where id = g.id for update skip locked) h on true
),
named as (
    select n, ours, cancel_at, cancel_reason from held
    where not missed and (not ours or (cancel_at is not null) <> seen)
    union all
    select h.n, j.id is not null, j.cancel_at, j.cancel_reason
    from held h
    left join offpath_job j on j.id = h.id and j.fence = h.fence and j.worker = cast(:worker as text) and j.state = 3
    where h.missed
),
tied as materialized (
    -- In a task's own transaction: should its host be cut off before the COMMIT, nobody else could have the job until
    -- the server misses the connection, by default after two hours. Between the messages of one statement the session
    -- does not count as idle, hence the rest.
    select case when current_setting('idle_in_transaction_session_timeout') = '0'
           then set_config('idle_in_transaction_session_timeout', '15s', true) end,
           case when current_setting('tcp_user_timeout') = '0' then set_config('tcp_user_timeout', '15s', true) end,
           case when cast(current_setting('tcp_keepalives_idle') as integer) > 60
           then set_config('tcp_keepalives_idle', '10', true) || set_config('tcp_keepalives_interval', '3', true)
                || set_config('tcp_keepalives_count', '3', true) end
)
select cast(coalesce(json_agg(json_build_array(n, ours, cancel_at, cancel_reason)) filter (where n is not null), '[]') as text)
from tied left join named on true

-- name: written
-- Of changes that were refused, those (by number) that had been written before, when the answer was lost.
with given as materialized (
    select n - 1 as n, cast(r ->> 0 as uuid) as id, cast(r ->> 1 as bigint) as fence, cast(r ->> 3 as smallint) as state
    from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) with ordinality as e (r, n)
)
select g.n from given g join offpath_history h on h.id = g.id and h.fence = g.fence and h.outcome = g.state
union all
select g.n from given g
join offpath_job j on j.id = g.id and j.fence = g.fence and j.state = g.state and j.worker is null

-- name: finish
-- Each row is looked up by itself (`offset 0` keeps the planner from making one join of it): in a task's own transaction
-- that is SERIALIZABLE, whoever has read the rows of neighbours, or their pages, cannot pass beside their settling.
insert into offpath_history (id, outcome, task, version, args, queue, priority, run_at, key, attempt, crashes, fence,
                             once, watched, owner, options, retry_of, flow, lane, result, error, finished_at, expires_at,
                             expires_on)
select j.id, cast(r ->> 3 as smallint), j.task, j.version, j.args, j.queue, j.priority, j.run_at, j.key,
       cast(r ->> 5 as integer), cast(r ->> 6 as integer), j.fence, j.once, j.watched, j.owner, j.options, j.retry_of, j.flow, j.lane,
       r ->> 7, r ->> 8, cast(:now as bigint), cast(r ->> 10 as bigint),
       coalesce(date '1970-01-01' + cast(cast(r ->> 10 as bigint) / 86400000000 as integer), date '9999-12-31')
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
cross join lateral (select * from offpath_job where id = cast(r ->> 0 as uuid) offset 0) j
where j.fence = cast(r ->> 1 as bigint) and (j.cancel_at is not null) = (r ->> 2 = '1')
  and (cast(:worker as text) is null or (j.worker = cast(:worker as text) and j.state = 3))

-- name: remove
delete from offpath_job
where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))

-- name: remove_one
-- For the same reason.
delete from offpath_job where id = cast(:id as uuid)

-- name: back
update offpath_job j
set state = cast(r ->> 3 as smallint), run_at = cast(r ->> 4 as bigint), attempt = cast(r ->> 5 as integer),
    crashes = cast(r ->> 6 as integer), cancel_at = cast(r ->> 9 as bigint), cancel_reason = r ->> 11,
    worker = case when r ->> 3 = '3' then j.worker end
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
where j.id = cast(r ->> 0 as uuid)

-- name: operations
-- events: [id, state, cancel_at, expires_at, type, data]; one event per operation and statement. Whoever numbers events
-- later says no earlier time: the clock was read before the row was had.
update offpath_operation o
set seq = seq + 1, status = cast(r ->> 1 as smallint), cancel_at = cast(r ->> 2 as bigint),
    updated_at = greatest(cast(:now as bigint), updated_at),
    started_at = case when r ->> 4 = 'started' then coalesce(started_at, greatest(cast(:now as bigint), updated_at)) else started_at end,
    progress = case when r ->> 4 = 'started' then null else progress end,
    finished_at = case when cast(r ->> 1 as integer) >= 4 then greatest(cast(:now as bigint), updated_at) end,
    expires_at = cast(r ->> 3 as bigint)
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
where o.id = cast(r ->> 0 as uuid)

-- name: events
-- Tells on the way whether there are webhook endpoints at all: a statement of its own would be a way there and back.
with told as (
    insert into offpath_event (job, seq, type, at, data)
    select o.id, o.seq, r ->> 4, o.updated_at, r ->> 5
    from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
    join offpath_operation o on o.id = cast(r ->> 0 as uuid)
)
select exists (select 1 from offpath_endpoint)

-- name: operations_one
-- `operations` of one, looked up by its id: for the same reason as `finish`.
update offpath_operation o
set seq = seq + 1, status = cast(r ->> 1 as smallint), cancel_at = cast(r ->> 2 as bigint),
    updated_at = greatest(cast(:now as bigint), updated_at),
    started_at = case when r ->> 4 = 'started' then coalesce(started_at, greatest(cast(:now as bigint), updated_at)) else started_at end,
    progress = case when r ->> 4 = 'started' then null else progress end,
    finished_at = case when cast(r ->> 1 as integer) >= 4 then greatest(cast(:now as bigint), updated_at) end,
    expires_at = cast(r ->> 3 as bigint)
from (select cast(cast(:rows as text) as jsonb) -> 0 as r) g
where o.id = cast(r ->> 0 as uuid)

-- name: events_one
-- `events` of one.
with told as (
    insert into offpath_event (job, seq, type, at, data)
    select o.id, o.seq, r ->> 4, o.updated_at, r ->> 5
    from (select cast(cast(:rows as text) as jsonb) -> 0 as r) g
    join offpath_operation o on o.id = cast(r ->> 0 as uuid)
)
select exists (select 1 from offpath_endpoint)
