-- The visitors of a customer, in key order, behind one of them. Rows: up to `rows_max`. Locks: none.
SELECT visitor_id, (extract(epoch FROM linked_at) * 1000)::bigint, is_current
FROM customer_visitor
WHERE workspace_id = %(workspace_id)s AND customer_id = %(customer_id)s::text COLLATE "C" AND bucket = %(bucket)s
  AND visitor_id > %(after)s::text COLLATE "C"
ORDER BY visitor_id
LIMIT %(rows_max)s
