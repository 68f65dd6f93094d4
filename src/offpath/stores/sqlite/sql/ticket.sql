-- Tickets are used by deleting them: of two at once, one finds the row.

-- name: issue
insert into offpath_ticket (hash, operation, tenant, owner, expires_at)
values (:hash, :operation, :tenant, :owner, :expires_at)

-- name: take
delete from offpath_ticket where hash = :hash and operation = :operation returning tenant, owner, expires_at

-- name: forget
delete from offpath_ticket
where hash in (select hash from offpath_ticket where expires_at <= :now order by expires_at limit :limit)
