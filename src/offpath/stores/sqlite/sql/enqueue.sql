-- Many jobs in one statement, from one JSON parameter: the same text serves our writer thread and any borrowed
-- connection. The view's trigger (migrations/0001) writes the job, its operation and its first event, and leaves out a
-- job whose key is taken by a live job; `present` tells who has it.
-- rows: [the job's columns…, and of a watched one: tenant, owner, kind, label, type and data of its first event]
-- keys: [id, task, key]

-- name: insert
insert into offpath_enqueue
select json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
       json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
       json_extract(value, '$[6]'), json_extract(value, '$[7]'), json_extract(value, '$[8]'),
       json_extract(value, '$[9]'), json_extract(value, '$[10]'), json_extract(value, '$[11]'),
       json_extract(value, '$[12]'), json_extract(value, '$[13]'), json_extract(value, '$[14]'),
       json_extract(value, '$[15]'), json_extract(value, '$[16]'), json_extract(value, '$[17]'),
       json_extract(value, '$[18]'), json_extract(value, '$[19]'), json_extract(value, '$[20]'),
       json_extract(value, '$[21]'), json_extract(value, '$[22]'), json_extract(value, '$[23]'),
       json_extract(value, '$[24]'), json_extract(value, '$[25]'), json_extract(value, '$[26]'), :now
from json_each(:rows)

-- name: present
select json_extract(value, '$[0]'),
       (select id from offpath_job
        where task = json_extract(value, '$[1]') and key = json_extract(value, '$[2]') and behind = 0)
from json_each(:keys)
