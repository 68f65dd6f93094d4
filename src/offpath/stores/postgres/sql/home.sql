-- Which home of jobs this is: a borrowed connection must lead to the same one.
select cast(id as text) from offpath_home
