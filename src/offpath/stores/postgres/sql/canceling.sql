select cast(id as text), fence, cancel_at, cancel_reason
from offpath_job where worker = cast(:worker as text) and cancel_at is not null and state = 3
