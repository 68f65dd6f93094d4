-- What happened lately, for those who follow it live (docs/decisions/0043). Rows of history are appended, so that the
-- ranges of a BRIN index tell when they ended, and an insert pays nothing for it.

create index offpath_job_attempt_ended on offpath_job_attempt (ended_at, job);
create index offpath_history_recent on offpath_history using brin (finished_at) with (pages_per_range = 16, autosummarize = on);
