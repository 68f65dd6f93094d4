-- In which tenants there is work, or an endpoint, of somebody of that name. Reads whole tables, as what erases does.
select coalesce(json_extract(options, '$.tenant'), '') from offpath_job where owner = :owner
union select coalesce(json_extract(options, '$.tenant'), '') from offpath_history where owner = :owner
union select tenant from offpath_operation where owner = :owner
union select tenant from offpath_endpoint where owner = :owner
order by 1
