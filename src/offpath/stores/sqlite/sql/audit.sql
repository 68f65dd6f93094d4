-- Who has done what (migrations/0014). Newest first; the cursor is the id.

-- name: note
-- rows: [id, at, actor, action, target, data, tenant]
insert into offpath_audit (id, at, actor, action, target, data, tenant)
select json_extract(r.value, '$[0]'), json_extract(r.value, '$[1]'), json_extract(r.value, '$[2]'),
       json_extract(r.value, '$[3]'), json_extract(r.value, '$[4]'), json_extract(r.value, '$[5]'),
       json_extract(r.value, '$[6]')
from json_each(:rows) r

-- name: all
select id, at, actor, action, target, data, tenant from offpath_audit
where id < coalesce(:after, 'g')
order by id desc limit :limit

-- name: actor
select id, at, actor, action, target, data, tenant from offpath_audit
where id < coalesce(:after, 'g')
  and actor = :actor
  and (:action is null or action = :action)
order by id desc limit :limit

-- name: action
select id, at, actor, action, target, data, tenant from offpath_audit
where id < coalesce(:after, 'g')
  and action = :action
order by id desc limit :limit

-- name: target
select id, at, actor, action, target, data, tenant from offpath_audit
where id < coalesce(:after, 'g')
  and target = :target
  and (:actor is null or actor = :actor)
  and (:action is null or action = :action)
order by id desc limit :limit

-- name: forget
delete from offpath_audit
where id in (select id from offpath_audit where id < :before order by id limit :limit)
