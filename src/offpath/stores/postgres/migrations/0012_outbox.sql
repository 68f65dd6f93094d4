-- Events on their way to a broker (docs/decisions/0033). A row goes when the broker has confirmed it.

create table offpath_outbox (
    seq        bigint generated always as identity primary key,
    id         text collate "C" not null,  -- of the event
    job        uuid not null,              -- that sends it
    shard      smallint not null,          -- its line
    key        text collate "C",           -- events of one key are sent in the order of their commits
    address    text not null,
    subject    text not null,
    direct     smallint not null,
    plain      smallint not null,
    message    text not null,              -- JSON
    aside      smallint not null default 0,   -- 1: not in its line any more, its job has ended or is about to
    error      text,                       -- why the broker will not have it
    look_at    bigint,                      -- when upkeep looks whether the job of one that is aside is still there
    created_at bigint not null
);
create index offpath_outbox_line on offpath_outbox (shard, seq) where aside = 0;
create index offpath_outbox_job on offpath_outbox (job);
create index offpath_outbox_aside on offpath_outbox (id, shard) where aside = 1;
create index offpath_outbox_look on offpath_outbox (look_at) where aside = 1;
