-- Visitors of whom it was said in vain that they are this customer, or were. Rows: up to `rows_max`. Locks: none.
SELECT DISTINCT visitor_id
FROM visitor_fact
WHERE workspace_id = %(workspace_id)s AND customer_id = %(customer_id)s::text COLLATE "C" AND NOT applied
  AND bucket = ANY (%(buckets)s::smallint[])
LIMIT %(rows_max)s
