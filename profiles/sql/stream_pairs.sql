-- All pairs of customer and visitor of a workspace, in whatever bucket they lie.
-- Rows: one per pair, in key order, through a cursor. Locks: none.
SELECT bucket, customer_id, visitor_id
FROM customer_visitor
WHERE workspace_id = %(workspace_id)s AND bucket BETWEEN 0 AND 4095
ORDER BY workspace_id, customer_id, visitor_id, bucket
