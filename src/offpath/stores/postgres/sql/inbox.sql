-- Messages that have become jobs (migrations/0013). Rows and locks are taken in one order by everybody, so that two
-- consumers of the same messages wait for each other, and no more than that.

-- name: know
-- rows: [task, source, id, job]. The jobs of those that were not known.
insert into offpath_inbox (task, source, id, job, at, expires_at)
select r ->> 0, r ->> 1, r ->> 2, cast(r ->> 3 as uuid), cast(:now as bigint), cast(:until as bigint)
from (select r from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
      order by (r ->> 0) collate "C", (r ->> 1) collate "C", (r ->> 2) collate "C" offset 0) sorted
on conflict do nothing
returning cast(job as text)

-- name: hold
-- Nobody else puts jobs into these lines until we have committed; and whoever is ending the first of one has done so, or
-- waits until what we put behind it can be seen.
with held as materialized (
    select line, pg_advisory_xact_lock(hashtextextended(concat_ws(' ', 'offpath_lines', line), 0)) as lock
    from (select line from jsonb_array_elements_text(cast(cast(:lines as text) as jsonb)) as given (line)
          order by line collate "C" offset 0) sorted
)
select cast(j.id as text)
from held join offpath_job j on j.id = (select id from offpath_job where line = held.line order by place limit 1)
where held.lock is not null
for key share of j

-- name: ends
-- lines: where each of them ends, as far as there is somebody in it
select line, (select max(place) from offpath_job j where j.line = given.line)
from jsonb_array_elements_text(cast(cast(:lines as text) as jsonb)) as given (line)

-- name: stand
-- rows: [id, line, place]
update offpath_job j set line = r ->> 1, place = cast(r ->> 2 as bigint)
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r
where j.id = cast(r ->> 0 as uuid)

-- name: stranded
-- The next lines in which somebody waits, by hopping from one to the next; and of each the first job, if it waits itself:
-- nobody is left who would free it.
with recursive hop (n, line) as (
    select 1, (select min(line) from offpath_job
               where line is not null and state = 1 and line > cast(:after as text))
    union all
    select n + 1, (select min(line) from offpath_job where line is not null and state = 1 and line > hop.line)
    from hop where hop.line is not null and n < cast(:limit as bigint)
)
select hop.line, case when j.state = 1 then cast(j.id as text) end
from hop
cross join lateral (select id, state from offpath_job where line = hop.line order by place limit 1) j
where hop.line is not null
order by hop.n

-- name: free
update offpath_job j set state = 0
where id = any(array(select id from offpath_job
                     where id = any(array(select cast(r as uuid)
                                          from jsonb_array_elements_text(cast(cast(:ids as text) as jsonb)) r))
                     for update skip locked))
  and state = 1
  and not exists (select 1 from offpath_job e where e.line = j.line and e.place < j.place)

-- name: depth
-- How many jobs of a queue are to be run before new ones, up to `limit`: those that are ready or wait in a line.
select count(*)
from (select 1 from offpath_job where queue = cast(:queue as text) and state = 2 and once = 0 and crashes = 0 and lane is null
      union all
      select 1 from offpath_job
      where queue = cast(:queue as text) and state = 2 and (once = 1 or crashes > 0) and lane is null
      union all
      select 1 from offpath_job where queue = cast(:queue as text) and state = 2 and lane is not null
      union all
      select 1 from offpath_job where line is not null and queue = cast(:queue as text) and state = 1
      limit cast(:limit as bigint)) found

-- name: keep
insert into offpath_letter (id, job, task, kind, source, place, body, size, digest, message, at, look_at)
values (cast(:id as uuid), cast(:job as uuid), cast(:task as text), cast(:kind as text), cast(:source as text),
        cast(:place as text), cast(:body as bytea), cast(:size as bigint), cast(:digest as text), cast(:message as text),
        cast(:at as bigint), cast(:look_at as bigint))

-- name: letter
select cast(id as text), cast(job as text), task, kind, source, place, body, size, digest, message, at
from offpath_letter where id = cast(:id as uuid)

-- name: read
update offpath_letter set job = cast(:job as uuid) where id = cast(:id as uuid)

-- name: erase
delete from offpath_letter where job = cast(:id as uuid)

-- name: forget
delete from offpath_inbox
where ctid = any(array(select ctid from offpath_inbox where expires_at <= cast(:now as bigint)
                       order by expires_at limit cast(:limit as bigint) for update skip locked))

-- name: lose
-- Of those that are due for a look: gone with their job when no other is to read them, or kept until history forgets it,
-- or for another hour.
with due as materialized (
    select id, job from offpath_letter where look_at <= cast(:now as bigint)
    order by look_at limit cast(:limit as bigint) for update skip locked
),
fate as materialized (
    select d.id,
           (select h.expires_at from offpath_history h where h.id = d.job limit 1) as expires_at,
           coalesce((select 1 from offpath_job j where j.id = d.job),
                    (select 1 from offpath_job j
                     where j.task = cast(:task as text) and j.key = cast(d.id as text) and j.behind = 0 limit 1),
                    (select 1 from offpath_history h where h.id = d.job limit 1)) is not null as there
    from due d
),
gone as (
    delete from offpath_letter l using fate f where l.id = f.id and not f.there
),
kept as (
    update offpath_letter l
    set look_at = greatest(cast(:soonest as bigint), coalesce(f.expires_at, cast(:later as bigint)))
    from fate f where l.id = f.id and f.there
)
select count(*) from due
