-- Add the visitors that ever caused a row of a customer's ledger to the customer's visitors, for the erasure that goes
-- through these; `linked_at` marks them as added. Rows: one per pair added. Locks: those rows, in key order.
INSERT INTO customer_visitor (bucket, workspace_id, customer_id, visitor_id, linked_at, is_current)
SELECT DISTINCT m.bucket, m.workspace_id, m.customer_id, m.visitor_id, %(linked_at)s::timestamptz, false
FROM merge AS m
WHERE m.workspace_id = %(workspace_id)s AND m.customer_id = %(customer_id)s::text COLLATE "C" AND m.bucket = %(bucket)s
  AND m.visitor_id IS NOT NULL
ORDER BY workspace_id, customer_id, visitor_id
ON CONFLICT (workspace_id, customer_id, visitor_id, bucket) DO NOTHING
RETURNING 1
