-- Jobs under a limit wait in lines of their own, one per lane, and are claimed by a statement of their own: the claim's
-- other indexes know nothing of them.

drop index offpath_job_ready;
drop index offpath_job_delicate;
create index offpath_job_ready on offpath_job (queue, priority, run_at, id)
    where state = 2 and once = 0 and crashes = 0 and lane is null;
create index offpath_job_delicate on offpath_job (queue, priority, run_at, id)
    where state = 2 and (once = 1 or crashes > 0) and lane is null;
create index offpath_job_lane on offpath_job (queue, lane, priority, run_at, id) where state = 2 and lane is not null;
-- Who holds a place under a limit: the jobs that run. There is no other count of them.
create index offpath_job_held on offpath_job (lane) where state = 3 and lane is not null;

-- The numbers of every limit, as its newest declaration has them.
create table offpath_limit (
    name        text collate "C" primary key,
    concurrency integer,
    spacing     bigint,                    -- µs between two starts
    burst       integer not null
);

-- Of each bucket under a rate: when its next start would be on time if there were no burst (GCRA). One whose moment is
-- past says nothing, and goes.
create table offpath_rate (
    bucket text collate "C" primary key,
    tat    bigint not null
) with (fillfactor = 50);
create index offpath_rate_tat on offpath_rate (tat);
