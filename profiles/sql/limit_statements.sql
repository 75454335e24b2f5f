-- Let no statement of this transaction run longer. Rows: the limit. Locks: none.
SELECT set_config('statement_timeout', %(milliseconds)s::integer::text, true)
