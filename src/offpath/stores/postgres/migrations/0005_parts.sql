-- What a job is part of: the flow it belongs to and how many of its parents have not ended; the lane of its limits.

alter table offpath_job
    add column flow uuid,
    add column waits integer not null default 0,
    add column lane text collate "C";
alter table offpath_history
    add column flow uuid,
    add column lane text collate "C";
