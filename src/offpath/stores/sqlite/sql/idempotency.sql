-- What requests with an Idempotency-Key were answered. Writing comes first: what is read before the write lock is held
-- may have changed by the time it is.

-- name: reserve
-- Ours is what nobody had, what has expired, or what its holder has left lying about.
insert into offpath_idempotency as r (scope, key, fingerprint, holder, fence, leased_until, expires_at)
values (:scope, :key, :fingerprint, :holder, 1, :now + :lease, :now + :ttl)
on conflict (scope, key) do update
set fingerprint = excluded.fingerprint, status = null, headers = null, body = null, operation = null,
    holder = excluded.holder, fence = r.fence + 1, leased_until = excluded.leased_until,
    expires_at = excluded.expires_at
where case when r.status is null then r.leased_until else r.expires_at end <= :now
returning fence

-- name: found
select fingerprint, status, headers, body, operation from offpath_idempotency where scope = :scope and key = :key

-- name: remember
update offpath_idempotency
set status = :status, headers = :headers, body = :body, operation = :operation, leased_until = null
where scope = :scope and key = :key and holder = :holder and fence = :fence and status is null

-- name: renew
update offpath_idempotency set leased_until = :now + :lease
where scope = :scope and key = :key and holder = :holder and fence = :fence and status is null

-- name: release
delete from offpath_idempotency
where scope = :scope and key = :key and holder = :holder and fence = :fence and status is null

-- name: forget
delete from offpath_idempotency
where rowid in (select rowid from offpath_idempotency
                where expires_at <= :now and (status is not null or leased_until <= :now)
                order by expires_at limit :limit)
