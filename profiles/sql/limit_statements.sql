-- Let no statement of this transaction run longer, and plan each for its own filters. Rows: the limit. Locks: none.
SELECT set_config('statement_timeout', %(milliseconds)s::integer::text, true),
       set_config('plan_cache_mode', 'force_custom_plan', true)
