-- The only clock there is: the database's, µs since the epoch.
select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)
