select id, fence, cancel_at, cancel_reason from offpath_job where worker = :worker and cancel_at is not null and state = 3
