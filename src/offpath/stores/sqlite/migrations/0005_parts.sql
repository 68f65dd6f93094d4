-- What a job is part of: the flow it belongs to and how many of its parents have not ended; the lane of its limits.

alter table offpath_job add column flow text;
alter table offpath_job add column waits integer not null default 0;
alter table offpath_job add column lane text;
alter table offpath_history add column flow text;
alter table offpath_history add column lane text;

drop view offpath_enqueue;
create view offpath_enqueue as
select id, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes, fence, once, watched,
       owner, options, retry_of, flow, waits, lane, null as tenant, null as seen_by, null as kind, null as label,
       null as type, null as data, null as now
from offpath_job;

create trigger offpath_enqueue_insert instead of insert on offpath_enqueue begin
    insert into offpath_job (id, task, version, args, queue, priority, state, run_at, deadline, key, attempt, crashes,
                             fence, once, watched, owner, options, retry_of, flow, waits, lane)
    values (new.id, new.task, new.version, new.args, new.queue, new.priority, new.state, new.run_at, new.deadline,
            new.key, new.attempt, new.crashes, new.fence, new.once, new.watched, new.owner, new.options, new.retry_of,
            new.flow, new.waits, new.lane)
    on conflict do nothing;
    insert into offpath_operation (id, tenant, owner, kind, label, status, seq, created_at, updated_at)
    select new.id, new.tenant, new.seen_by, new.kind, new.label, new.state, 1, new.now, new.now
    where new.watched and changes() > 0                -- of the statement before: whether the job went in
    on conflict do nothing;
    insert into offpath_event (job, seq, type, at, data)
    select new.id, 1, new.type, new.now, new.data
    where new.watched and changes() > 0;
end;
