-- A look through jobs that goes only so far at a time: it costs the same whatever the filter says, and however little
-- it finds. (An index for every filter would be paid for by every enqueue and settle; docs/decisions/0037.)

-- name: live_floor
-- The last of the next `most` rows; none: there are fewer.
select id from offpath_job
where id < min(coalesce(:after, 'g'), coalesce(:before_id, 'g'))
order by id desc limit 1 offset :most

-- name: finished_floor
-- The last of the next `most` rows; none: there are fewer.
select id from offpath_history
where id < min(coalesce(:after, 'g'), coalesce(:before_id, 'g'))
order by id desc limit 1 offset :most

-- name: failed_floor
-- The last of the next `most` rows; none: there are fewer.
select id from offpath_history indexed by offpath_history_failed
where outcome = 5 and id < min(coalesce(:after, 'g'), coalesce(:before_id, 'g'))
order by id desc limit 1 offset :most

-- name: live_count
select count(*) from offpath_job
where id < min(coalesce(:after, 'g'), coalesce(:before_id, 'g'))
  and id >= coalesce(:floor, '') and state in (select value from json_each(:states))
  and (:queue is null or queue = :queue) and (:task is null or task = :task) and (:owner is null or owner = :owner)
  and (:prefix is null or substr(key, 1, length(:prefix)) = :prefix)

-- name: finished_count
select count(*) from offpath_history
where outcome in (select value from json_each(:states))
  and id < min(coalesce(:after, 'g'), coalesce(:before_id, 'g')) and id >= coalesce(:floor, '')
  and (:queue is null or queue = :queue) and (:task is null or task = :task) and (:owner is null or owner = :owner)
  and (:prefix is null or substr(key, 1, length(:prefix)) = :prefix)
  and (:before is null or finished_at < :before)
  and (:error is null or :error in (json_extract(error, '$.kind'), json_extract(error, '$.class')))
  and (:outstanding = 0 or retried_as is null and task <> 'offpath.bulk')

-- name: failed_count
select count(*) from offpath_history indexed by offpath_history_failed
where outcome = 5 and id < min(coalesce(:after, 'g'), coalesce(:before_id, 'g')) and id >= coalesce(:floor, '')
  and (:queue is null or queue = :queue) and (:task is null or task = :task) and (:owner is null or owner = :owner)
  and (:prefix is null or substr(key, 1, length(:prefix)) = :prefix)
  and (:before is null or finished_at < :before)
  and (:error is null or :error in (json_extract(error, '$.kind'), json_extract(error, '$.class')))
  and (:outstanding = 0 or retried_as is null and task <> 'offpath.bulk')
