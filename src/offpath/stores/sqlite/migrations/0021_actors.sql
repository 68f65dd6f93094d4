-- In which tenant whoever did it is an owner; null: in none (the command line's, or written by an older worker). So that
-- erasing an owner leaves others of that name alone.

alter table offpath_audit add column tenant text;
