-- The ids of a workspace's customers in their order, behind one of them. Rows: up to `rows_max`. Locks: none.
SELECT customer_id
FROM customer
WHERE workspace_id = %(workspace_id)s AND bucket = ANY (%(buckets)s::smallint[])
  AND customer_id > %(after)s::text COLLATE "C"
ORDER BY customer_id
LIMIT %(rows_max)s
