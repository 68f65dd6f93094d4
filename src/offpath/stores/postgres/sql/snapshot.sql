-- Whether the transaction sees nothing but what was so when it began: a row that others have written since, even for it,
-- it cannot write any more (40001).
select current_setting('transaction_isolation') in ('repeatable read', 'serializable')
