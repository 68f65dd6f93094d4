-- A look through jobs that goes only so far at a time: it costs the same whatever the filter says, and however little
-- it finds. (An index for every filter would be paid for by every enqueue and settle; docs/decisions/0037.)

-- name: live_floor
-- The last of the next `most` rows; none: there are fewer.
select cast(j.id as text) from offpath_job j
where j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff') and j.id < coalesce(cast(:before_id as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by j.id desc limit 1 offset cast(:most as bigint)

-- name: finished_floor
-- The last of the next `most` rows; none: there are fewer.
select cast(j.id as text) from offpath_history j
where j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff') and j.id < coalesce(cast(:before_id as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by j.id desc limit 1 offset cast(:most as bigint)

-- name: failed_floor
-- The last of the next `most` rows; none: there are fewer.
select cast(j.id as text) from offpath_history j
where outcome = 5 and j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff') and j.id < coalesce(cast(:before_id as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by j.id desc limit 1 offset cast(:most as bigint)

-- name: live_count
select count(*) from offpath_job j
where j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and j.id >= coalesce(cast(:floor as uuid), '00000000-0000-0000-0000-000000000000')
  and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (cast(:task as text) is null or task = cast(:task as text))
  and (cast(:owner as text) is null or owner = cast(:owner as text))
  and (cast(:prefix as text) is null or starts_with(key, cast(:prefix as text)))
  and state = any(array(select cast(r as smallint) from jsonb_array_elements_text(cast(cast(:states as text) as jsonb)) r))
  and j.id < coalesce(cast(:before_id as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')

-- name: finished_count
select count(*) from offpath_history j
where outcome = any(array(select cast(r as smallint) from jsonb_array_elements_text(cast(cast(:states as text) as jsonb)) r))
  and j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and j.id >= coalesce(cast(:floor as uuid), '00000000-0000-0000-0000-000000000000')
  and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (cast(:task as text) is null or task = cast(:task as text))
  and (cast(:owner as text) is null or owner = cast(:owner as text))
  and (cast(:prefix as text) is null or starts_with(key, cast(:prefix as text)))
  and j.id < coalesce(cast(:before_id as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and (cast(:before as bigint) is null or finished_at < cast(:before as bigint))
  and (cast(:error as text) is null
       or cast(:error as text) in (cast(error as json) ->> 'kind', cast(error as json) ->> 'class'))
  and (cast(:outstanding as integer) = 0 or retried_as is null and task <> 'offpath.bulk')

-- name: failed_count
select count(*) from offpath_history j
where outcome = 5 and j.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and j.id >= coalesce(cast(:floor as uuid), '00000000-0000-0000-0000-000000000000')
  and (cast(:queue as text) is null or queue = cast(:queue as text))
  and (cast(:task as text) is null or task = cast(:task as text))
  and (cast(:owner as text) is null or owner = cast(:owner as text))
  and (cast(:prefix as text) is null or starts_with(key, cast(:prefix as text)))
  and j.id < coalesce(cast(:before_id as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and (cast(:before as bigint) is null or finished_at < cast(:before as bigint))
  and (cast(:error as text) is null
       or cast(:error as text) in (cast(error as json) ->> 'kind', cast(error as json) ->> 'class'))
  and (cast(:outstanding as integer) = 0 or retried_as is null and task <> 'offpath.bulk')
