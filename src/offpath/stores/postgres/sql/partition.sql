-- History by the day on which a row expires (UTC). Partitions are made apart and attached, ahead of their time, and dropped
-- as wholes; `{day}`, `{start}` and
-- `{end}` are filled in by code, from dates only.

-- name: days
-- The days there are, as numbers: 20261231.
select cast(substring(relname from '[0-9]{8}$') as integer)
from pg_inherits join pg_class on pg_class.oid = inhrelid
where inhparent = cast('offpath_history' as regclass) and relname ~ '[0-9]{8}$'

-- name: alone
-- One at a time; and whoever reads or writes history goes first. The text gets its schema as a table's name does.
select pg_advisory_xact_lock(hashtextextended('offpath_partitions', 0))

-- name: patience
set local lock_timeout = '2s'

-- name: haste
-- For what needs history all to itself: while it waits, whoever comes later waits behind it.
set local lock_timeout = '100ms'

-- name: make
create table offpath_history_{day}
(like offpath_history including defaults including constraints including indexes)
with (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000)

-- name: attach
alter table offpath_history attach partition offpath_history_{day}
for values from ('{start}') to ('{end}')

-- name: drop
drop table offpath_history_{day}
