-- Charts of a week read a row for each step and no more (docs/decisions/0038): a sample of all queues together (queue '')
-- beside those of each, and counts of one task by an index.

insert into offpath_sample (at, queue, ready, running, oldest)
select at, '', sum(ready), sum(running), max(oldest) from offpath_sample group by at having not bool_or(queue = '');
create index offpath_sample_queue on offpath_sample (queue, at) include (ready, running, oldest);
create index offpath_stat_task on offpath_stat (task, at);
