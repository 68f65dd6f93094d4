-- Which job of a flow waits for which, and what travels on the way. No foreign keys: jobs move from table to table.

create table offpath_edge (
    flow       uuid not null,
    parent     uuid not null,
    child      uuid not null,              -- a part, or the flow itself
    path       text collate "C" not null,  -- the place of its value in the child's: "", "2", "2/0"
    policy     smallint not null check (policy in (0, 1, 2)),   -- cancel continue catch
    race       smallint not null,          -- the first success of the same child and path decides all of them
    spread     smallint not null,          -- the child becomes a part for each element
    takes      text,                       -- the child's parameter for it
    outcome    smallint,                   -- how the parent ended
    value      text,
    expires_at bigint,
    primary key (parent, child)
);
create index offpath_edge_child on offpath_edge (child);
create index offpath_edge_flow on offpath_edge (flow);
create index offpath_edge_expiry on offpath_edge (expires_at) where expires_at is not null;
create index offpath_job_flow on offpath_job (flow) where flow is not null;
