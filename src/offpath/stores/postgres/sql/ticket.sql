-- Tickets are used by deleting them: of two at once, one finds the row.

-- name: issue
insert into offpath_ticket (hash, operation, tenant, owner, expires_at)
values (cast(:hash as text), cast(:operation as uuid), cast(:tenant as text), cast(:owner as text),
        cast(:expires_at as bigint))

-- name: take
delete from offpath_ticket where hash = cast(:hash as text) and operation = cast(:operation as uuid)
returning tenant, owner, expires_at

-- name: forget
delete from offpath_ticket
where hash = any(array(select hash from offpath_ticket where expires_at <= cast(:now as bigint)
                       order by expires_at limit cast(:limit as bigint) for update skip locked))
