-- How it is going: for `offpath doctor`, which may take its time.

-- name: workers
select id, label, expires_at, lapsed_at from offpath_worker order by id

-- name: part
-- The next jobs by id: those that are alike, who holds them, and whether he is there, at one moment.
select queue, task, state, count(*), min(run_at), version, worker,
       case when worker is null or exists (select 1 from offpath_worker w where w.id = worker) then 1 else 0 end,
       max(cast(id as text) collate "C")
from (select id, queue, task, state, run_at, version, worker from offpath_job
      where id > coalesce(cast(nullif(cast(:after as text), '') as uuid), '00000000-0000-0000-0000-000000000000')
      order by id limit cast(:limit as bigint)) part
group by queue, task, state, version, worker

-- name: failed
-- By task: those that were not run again, and those that were. A flow fails by a part that fails: it is counted as that.
select task, count(*) - count(retried_as), count(retried_as)
from (select task, retried_as from offpath_history
      where outcome = 5 and finished_at >= cast(:since as bigint) and task <> cast(:flow as text)
      limit cast(:limit as bigint)) f
group by task order by 2 desc, task

-- name: pid
select pg_backend_pid()

-- name: server
select current_setting('server_version'), cast(current_setting('server_version_num') as integer),
       case when pg_is_in_recovery() then 1 else 0 end, cast(current_user as text)

-- name: transactions
-- Open for long, and in somebody's way: a lock on a table of ours, or a snapshot that keeps vacuum from its work. (What
-- autovacuum itself holds gives way to whoever waits.)
with locks (pid, modes, writes) as (
    select l.pid, string_agg(distinct l.mode || ' on ' || regexp_replace(c.relname, '_[0-9]{8}$', ''), ', '),
           max(case when l.mode = 'AccessShareLock' then 0 else 1 end)
    from pg_locks l join pg_class c on c.oid = l.relation
    where l.granted and l.database = (select oid from pg_database where datname = current_database())
      and c.relnamespace = (select oid from pg_namespace where nspname = cast(:schema as text))
      and c.relkind in ('r', 'p') and c.relname ~ '^offpath_'
    group by l.pid
)
select a.pid, coalesce(cast(a.usename as text), ''), coalesce(a.application_name, ''), coalesce(a.state, ''),
       to_char(a.xact_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       cast(extract(epoch from clock_timestamp() - a.xact_start) as double precision),
       a.query, coalesce(locks.modes, ''), coalesce(locks.writes, 0),
       case when a.backend_xmin is null then 0 else 1 end
from pg_stat_activity a left join locks on locks.pid = a.pid
where a.datname = current_database() and a.pid <> pg_backend_pid()
  and a.backend_type in ('client backend', 'background worker') and a.leader_pid is null
  and extract(epoch from clock_timestamp() - a.xact_start) >= cast(:long as double precision)
  and (a.backend_xmin is not null or a.backend_xid is not null or locks.pid is not null)
order by a.xact_start

-- name: prepared
-- The first half of a commit in two phases: it outlives its connection and the server, and keeps its locks, and vacuum
-- from its work, until somebody says the second half.
with locks (xact, modes) as (
    select l.virtualtransaction, string_agg(distinct l.mode || ' on ' || regexp_replace(c.relname, '_[0-9]{8}$', ''), ', ')
    from pg_locks l join pg_class c on c.oid = l.relation
    where l.granted and l.pid is null and l.database = (select oid from pg_database where datname = current_database())
      and c.relnamespace = (select oid from pg_namespace where nspname = cast(:schema as text))
      and c.relkind in ('r', 'p') and c.relname ~ '^offpath_'
    group by l.virtualtransaction
)
select p.gid, coalesce(cast(p.owner as text), ''), to_char(p.prepared at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       cast(extract(epoch from clock_timestamp() - p.prepared) as double precision), coalesce(locks.modes, '')
from pg_prepared_xacts p
     left join pg_locks own on own.locktype = 'transactionid' and own.transactionid = p.transaction
                           and own.granted and own.pid is null
     left join locks on locks.xact = own.virtualtransaction
where p.database = current_database()
  and extract(epoch from clock_timestamp() - p.prepared) >= cast(:long as double precision)
order by p.prepared

-- name: hidden
-- Whoever may not read other roles' activity sees that they hold something, not since when.
select a.pid from pg_stat_activity a
where a.datname = current_database() and a.query = '<insufficient privilege>'
  and (a.backend_xmin is not null or a.backend_xid is not null or exists (
       select 1 from pg_locks l join pg_class c on c.oid = l.relation
       where l.pid = a.pid and l.granted and c.relname ~ '^offpath_'
         and l.database = (select oid from pg_database where datname = current_database())
         and c.relnamespace = (select oid from pg_namespace where nspname = cast(:schema as text))))
order by a.pid

-- name: tables
select c.relname, pg_stat_get_live_tuples(c.oid), pg_stat_get_dead_tuples(c.oid),
       case when exists (select 1 from unnest(c.reloptions) o where o ~ '^autovacuum_enabled=(f|of|0|n)') then 0 else 1 end
from pg_class c
where c.relnamespace = (select oid from pg_namespace where nspname = cast(:schema as text))
  and c.relkind = 'r' and c.relname ~ '^offpath_'
order by c.relname

-- name: autovacuum
select name, source from pg_settings where name in ('autovacuum', 'track_counts') and setting = 'off'

-- name: connections
-- What is left of the server's, the database's and the role's connections; -1 is no limit, and none binds a superuser
-- but the server's.
select cast(current_setting('max_connections') as integer)
         - cast(current_setting('superuser_reserved_connections') as integer)
         - coalesce(cast(current_setting('reserved_connections', true) as integer), 0),
       (select count(*) from pg_stat_activity where usename is not null and datname is not null),
       case when r.rolsuper then -1 else d.datconnlimit end,
       (select count(*) from pg_stat_activity where usename is not null and datname = current_database()),
       case when r.rolsuper then -1 else r.rolconnlimit end,
       (select count(*) from pg_stat_activity where usename = session_user and datname is not null)
from pg_database d, pg_roles r where d.datname = current_database() and r.rolname = session_user

-- name: indexes
select c.relname, case when i.indisvalid and i.indisready then 1 else 0 end
from pg_index i join pg_class c on c.oid = i.indexrelid
where c.relnamespace = (select oid from pg_namespace where nspname = cast(:schema as text)) and c.relname ~ '^offpath_'
order by c.relname
