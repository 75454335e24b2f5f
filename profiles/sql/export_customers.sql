-- All profiles of a workspace that anybody finds, for an export. All buckets on purpose.
-- Rows: one per customer, in key order, through a cursor. Locks: none.
SELECT customer_id, fields::text
FROM customer
WHERE workspace_id = %(workspace_id)s AND bucket BETWEEN 0 AND 4095 AND NOT is_gone AND joined_into IS NULL
ORDER BY workspace_id, customer_id, bucket
