-- In which tenants there is work, or an endpoint, of somebody of that name. Reads whole tables, as what erases does.
select coalesce(cast(options as json) ->> 'tenant', '') from offpath_job where owner = cast(:owner as text)
union select coalesce(cast(options as json) ->> 'tenant', '') from offpath_history where owner = cast(:owner as text)
union select tenant from offpath_operation where owner = cast(:owner as text)
union select tenant from offpath_endpoint where owner = cast(:owner as text)
order by 1
