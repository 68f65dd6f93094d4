-- What requests with an Idempotency-Key were answered.

-- name: alone
-- Whoever has the key in an open transaction has this lock. Waiting for his row instead would hold up a connection for
-- as long as his handler runs.
select case when pg_try_advisory_xact_lock(
    hashtextextended('offpath_idempotency ' || cast(:scope as text) || ' ' || cast(:key as text), 0)) then 1 else 0 end

-- name: reserve
-- Ours is what nobody had, what has expired, or what its holder has left lying about.
insert into offpath_idempotency as r (scope, key, fingerprint, holder, fence, leased_until, expires_at)
select cast(:scope as text), cast(:key as text), cast(:fingerprint as text), cast(:holder as text), 1,
       clock.now + cast(:lease as bigint), clock.now + cast(:ttl as bigint)
from (select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) as now) clock
on conflict (scope, key) do update
set fingerprint = excluded.fingerprint, status = null, headers = null, body = null, operation = null,
    holder = excluded.holder, fence = r.fence + 1, leased_until = excluded.leased_until,
    expires_at = excluded.expires_at
where case when r.status is null then r.leased_until else r.expires_at end
      <= cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)
returning fence

-- name: found
select fingerprint, status, headers, body, cast(operation as text) from offpath_idempotency
where scope = cast(:scope as text) and key = cast(:key as text)

-- name: remember
update offpath_idempotency
set status = cast(:status as integer), headers = cast(:headers as text), body = cast(:body as text),
    operation = cast(:operation as uuid), leased_until = null
where scope = cast(:scope as text) and key = cast(:key as text) and holder = cast(:holder as text)
  and fence = cast(:fence as integer) and status is null

-- name: renew
update offpath_idempotency
set leased_until = cast(extract(epoch from clock_timestamp()) * 1000000 as bigint) + cast(:lease as bigint)
where scope = cast(:scope as text) and key = cast(:key as text) and holder = cast(:holder as text)
  and fence = cast(:fence as integer) and status is null

-- name: release
delete from offpath_idempotency
where scope = cast(:scope as text) and key = cast(:key as text) and holder = cast(:holder as text)
  and fence = cast(:fence as integer) and status is null

-- name: forget
delete from offpath_idempotency r
using (select scope, key from offpath_idempotency
       where expires_at <= cast(:now as bigint) and (status is not null or leased_until <= cast(:now as bigint))
       order by expires_at limit cast(:limit as bigint) for update skip locked) old
where r.scope = old.scope and r.key = old.key
