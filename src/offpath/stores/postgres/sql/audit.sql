-- Who has done what (migrations/0014). Newest first; the cursor is the id.

-- name: note
-- rows: [id, at, actor, action, target, data, tenant]
insert into offpath_audit (id, at, actor, action, target, data, tenant)
select cast(r ->> 0 as uuid), cast(r ->> 1 as bigint), r ->> 2, r ->> 3, r ->> 4, r ->> 5, r ->> 6
from jsonb_array_elements(cast(cast(:rows as text) as jsonb)) r

-- name: all
select cast(id as text), at, actor, action, target, data, tenant from offpath_audit a
where a.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by a.id desc limit cast(:limit as bigint)

-- name: actor
select cast(id as text), at, actor, action, target, data, tenant from offpath_audit a
where a.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and actor = cast(:actor as text)
  and (cast(:action as text) is null or action = cast(:action as text))
order by a.id desc limit cast(:limit as bigint)

-- name: action
select cast(id as text), at, actor, action, target, data, tenant from offpath_audit a
where a.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and action = cast(:action as text)
order by a.id desc limit cast(:limit as bigint)

-- name: target
select cast(id as text), at, actor, action, target, data, tenant from offpath_audit a
where a.id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  and target = cast(:target as text)
  and (cast(:actor as text) is null or actor = cast(:actor as text))
  and (cast(:action as text) is null or action = cast(:action as text))
order by a.id desc limit cast(:limit as bigint)

-- name: forget
delete from offpath_audit
where id = any(array(select id from offpath_audit where id < cast(:before as uuid)
                      order by id limit cast(:limit as bigint) for update skip locked))
