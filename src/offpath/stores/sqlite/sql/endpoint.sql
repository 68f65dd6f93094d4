-- Who wants to hear of what. Every read names tenant and owner: a stranger's endpoint is not there.

-- name: alone
-- Whoever adds an endpoint counts its owner's first; here only one writes at a time anyway.
select 1

-- name: count
select count(*) from offpath_endpoint where tenant = :tenant and owner = :owner

-- name: insert
insert into offpath_endpoint (id, tenant, owner, url, description, events, secrets, headers, enabled, reason,
                              failing_since, not_before, width, created_at, updated_at)
values (:id, :tenant, :owner, :url, :description, :events, :secrets, :headers, :enabled, :reason, :failing_since,
        :not_before, :width, :created_at, :updated_at)

-- name: get
select id, tenant, owner, url, description, events, secrets, headers, enabled, reason, failing_since, not_before,
       width, created_at, updated_at
from offpath_endpoint where id = :id and tenant = :tenant and owner = :owner

-- name: held
-- To be changed: nobody else changes it meanwhile. Without an owner it is a worker that asks.
select id, tenant, owner, url, description, events, secrets, headers, enabled, reason, failing_since, not_before,
       width, created_at, updated_at
from offpath_endpoint
where id = :id and (:tenant is null or tenant = :tenant) and (:owner is null or owner = :owner)

-- name: seen
select id, tenant, owner, url, description, events, secrets, headers, enabled, reason, failing_since, not_before,
       width, created_at, updated_at
from offpath_endpoint where id = :id

-- name: list
select id, tenant, owner, url, description, events, secrets, headers, enabled, reason, failing_since, not_before,
       width, created_at, updated_at
from offpath_endpoint
where tenant = :tenant and owner = :owner and (:after is null or id < :after)
order by id desc limit :limit

-- name: write
update offpath_endpoint
set url = :url, description = :description, events = :events, secrets = :secrets, headers = :headers,
    enabled = :enabled, reason = :reason, failing_since = :failing_since, not_before = :not_before, width = :width,
    updated_at = :updated_at
where id = :id

-- name: delete
delete from offpath_endpoint where id = :id

-- name: signer
select secrets, shown from offpath_signer where tenant = :tenant

-- name: signed
select secrets from offpath_signer where tenant = :tenant

-- name: sign
insert into offpath_signer (tenant, secrets, shown) values (:tenant, :secrets, :shown)
on conflict (tenant) do update set secrets = excluded.secrets, shown = excluded.shown

-- name: sign_first
insert into offpath_signer (tenant, secrets, shown) values (:tenant, :secrets, 0) on conflict (tenant) do nothing

-- name: all
-- Everybody's.
select id, tenant, owner, url, description, events, secrets, headers, enabled, reason, failing_since, not_before,
       width, created_at, updated_at
from offpath_endpoint
where (:tenant is null or tenant = :tenant) and (:enabled is null or enabled = :enabled)
  and (:after is null or id < :after)
order by id desc limit :limit
