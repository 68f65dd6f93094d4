-- Events on their way to a broker.
-- Whoever publishes for a key takes its lock before `seq` is drawn, and has it until the end of the transaction: the next
-- one for that key draws his after that commit. So within a key the order of `seq` is that of the commits, and nobody
-- needs a cursor over a sequence of all, in which a late commit with a lower number would be lost.
-- Keys are locked in one order for every process (`offset 0` keeps the planner from locking before it sorts); rows are
-- inserted as they come from there. Two keys may share a lock, which costs a wait and no more.
-- Locks are the database's, so their text begins with the schema's name (which it gets as a table's name does).

-- name: insert
-- rows: [id, job, shard, key, address, subject, direct, plain, message]
with given as materialized (
    select r
    from (select r from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) with ordinality as e (r, n)
          order by hashtext(r ->> 3), n offset 0) sorted
    where r ->> 3 is null or pg_advisory_xact_lock(hashtext('offpath_outbox'), hashtext(r ->> 3)) is not null
)
insert into offpath_outbox (id, job, shard, key, address, subject, direct, plain, message, created_at)
select r ->> 0, cast(r ->> 1 as uuid), cast(r ->> 2 as smallint), r ->> 3, r ->> 4, r ->> 5,
       cast(r ->> 6 as smallint), cast(r ->> 7 as smallint), r ->> 8, cast(:now as bigint)
from given

-- name: own
select seq, aside, error from offpath_outbox where job = cast(:job as uuid)

-- name: line
select o.seq, o.id, cast(o.job as text), o.key, o.address, o.subject, o.direct, o.plain, o.message,
       exists (select 1 from offpath_job j where j.id = o.job)
from offpath_outbox o where o.shard = cast(:shard as smallint) and o.aside = 0
order by o.seq limit cast(:limit as bigint)

-- name: delete
delete from offpath_outbox
where seq = any(array(select cast(r as bigint) from jsonb_array_elements_text(cast(cast(:seqs as text) as jsonb)) r))

-- name: waiting
-- Of these jobs, those that have not begun; one that somebody is about to begin finds nothing to do.
select cast(id as text), task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence,
       worker, cancel_at, once, watched, owner, options, cast(retry_of as text), cancel_reason,
       cast(flow as text), waits, lane
from offpath_job
where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
  and state in (0, 2)
for update skip locked

-- name: aside
-- rows: [seq, error]
update offpath_outbox o set aside = 1, error = r ->> 1, look_at = cast(:look_at as bigint)
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r where o.seq = cast(r ->> 0 as bigint)

-- name: wake
update offpath_job set run_at = cast(:now as bigint)
where id = any(array(select id from offpath_job
                     where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
                       and state = 0 and run_at > cast(:now as bigint)
                     for update skip locked))
  and state = 0

-- name: take_back
update offpath_outbox o set job = cast(:job as uuid), aside = 0, error = null, look_at = null
where id = cast(:event as text) and shard = cast(:shard as smallint) and aside = 1
  and not exists (select 1 from offpath_job j where j.id = o.job)

-- name: backlog
select count(*), min(created_at) from offpath_outbox where aside = 0

-- name: there
select 1 from (
    (select 1 from offpath_outbox where id = cast(:event as text) and shard = cast(:shard as smallint) and aside = 1 limit 1)
    union all
    (select 1 from offpath_outbox where shard = cast(:shard as smallint) and aside = 0 and id = cast(:event as text) limit 1)
) found limit 1

-- name: erase
delete from offpath_outbox where job = cast(:id as uuid)

-- name: lose
-- Of those aside that are due for a look: gone when their job is nowhere, or kept until history forgets it, or for
-- another hour.
with due as materialized (
    select seq, job from offpath_outbox where aside = 1 and look_at <= cast(:now as bigint)
    order by look_at limit cast(:limit as bigint) for update skip locked
),
fate as materialized (
    select d.seq,
           (select h.expires_at from offpath_history h where h.id = d.job limit 1) as expires_at,
           coalesce((select 1 from offpath_job j where j.id = d.job),
                    (select 1 from offpath_history h where h.id = d.job limit 1)) is not null as there
    from due d
),
gone as (
    delete from offpath_outbox o using fate f where o.seq = f.seq and not f.there
),
kept as (
    update offpath_outbox o
    set look_at = greatest(cast(:soonest as bigint), coalesce(f.expires_at, cast(:later as bigint)))
    from fate f where o.seq = f.seq and f.there
)
select count(*) from due

-- name: ended
select cast(id as text), task, version, args, queue, priority, outcome, run_at, key, attempt, crashes, fence, once,
       watched, owner, options, cast(retry_of as text), result, error, finished_at, expires_at,
       cast(flow as text), lane
from offpath_history
where id = any(array(select cast(r as uuid) from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
