-- Who wants to hear of what. Every read names tenant and owner: a stranger's endpoint is not there.

-- name: alone
-- Whoever adds an endpoint counts its owner's first, and nobody else adds one meanwhile.
select 1
from pg_advisory_xact_lock(
    hashtextextended(concat_ws(' ', 'offpath_endpoint', cast(:tenant as text), cast(:owner as text)), 0))

-- name: count
select count(*) from offpath_endpoint where tenant = cast(:tenant as text) and owner = cast(:owner as text)

-- name: insert
insert into offpath_endpoint (id, tenant, owner, url, description, events, secrets, headers, enabled, reason,
                              failing_since, not_before, width, created_at, updated_at)
values (cast(:id as uuid), cast(:tenant as text), cast(:owner as text), cast(:url as text),
        cast(:description as text), cast(:events as text), cast(:secrets as text), cast(:headers as text),
        cast(:enabled as smallint), cast(:reason as text), cast(:failing_since as bigint),
        cast(:not_before as bigint), cast(:width as smallint), cast(:created_at as bigint),
        cast(:updated_at as bigint))

-- name: get
select cast(id as text), tenant, owner, url, description, events, secrets, headers, enabled, reason, failing_since,
       not_before, width, created_at, updated_at
from offpath_endpoint where id = cast(:id as uuid) and tenant = cast(:tenant as text) and owner = cast(:owner as text)

-- name: held
-- To be changed: nobody else changes it meanwhile. Without an owner it is a worker that asks.
select cast(id as text), tenant, owner, url, description, events, secrets, headers, enabled, reason, failing_since,
       not_before, width, created_at, updated_at
from offpath_endpoint
where id = cast(:id as uuid) and (cast(:tenant as text) is null or tenant = cast(:tenant as text))
  and (cast(:owner as text) is null or owner = cast(:owner as text))
for update

-- name: seen
select cast(id as text), tenant, owner, url, description, events, secrets, headers, enabled, reason, failing_since,
       not_before, width, created_at, updated_at
from offpath_endpoint where id = cast(:id as uuid)

-- name: list
select cast(id as text), tenant, owner, url, description, events, secrets, headers, enabled, reason, failing_since,
       not_before, width, created_at, updated_at
from offpath_endpoint
where tenant = cast(:tenant as text) and owner = cast(:owner as text)
  and id < coalesce(cast(:after as uuid), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
order by offpath_endpoint.id desc limit cast(:limit as bigint)

-- name: write
update offpath_endpoint
set url = cast(:url as text), description = cast(:description as text), events = cast(:events as text),
    secrets = cast(:secrets as text), headers = cast(:headers as text), enabled = cast(:enabled as smallint),
    reason = cast(:reason as text), failing_since = cast(:failing_since as bigint),
    not_before = cast(:not_before as bigint), width = cast(:width as smallint),
    updated_at = cast(:updated_at as bigint)
where id = cast(:id as uuid)

-- name: delete
delete from offpath_endpoint where id = cast(:id as uuid)

-- name: signer
select secrets, shown from offpath_signer where tenant = cast(:tenant as text) for update

-- name: signed
select secrets from offpath_signer where tenant = cast(:tenant as text)

-- name: sign
insert into offpath_signer (tenant, secrets, shown)
values (cast(:tenant as text), cast(:secrets as text), cast(:shown as smallint))
on conflict (tenant) do update set secrets = excluded.secrets, shown = excluded.shown

-- name: sign_first
insert into offpath_signer (tenant, secrets, shown)
values (cast(:tenant as text), cast(:secrets as text), 0) on conflict (tenant) do nothing

-- name: all
-- Everybody's.
select cast(id as text), tenant, owner, url, description, events, secrets, headers, enabled, reason, failing_since,
       not_before, width, created_at, updated_at
from offpath_endpoint
where (cast(:tenant as text) is null or tenant = cast(:tenant as text))
  and (cast(:enabled as smallint) is null or enabled = cast(:enabled as smallint))
  and (cast(:after as uuid) is null or id < cast(:after as uuid))
order by offpath_endpoint.id desc limit cast(:limit as bigint)
