-- What happened lately, for those who follow it live (docs/decisions/0043). When a job ended needs no index here: history
-- is appended in that order.

create index offpath_job_attempt_ended on offpath_job_attempt (ended_at, job);
