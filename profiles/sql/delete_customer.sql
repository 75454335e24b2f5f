-- Remove the profile of a customer who is being erased, if it is in the version that was read.
-- Rows: one if so; none means a lost race. Locks: the row.
DELETE FROM customer
WHERE workspace_id = %(workspace_id)s AND customer_id = %(customer_id)s::text COLLATE "C" AND bucket = %(bucket)s
  AND version = %(version)s
RETURNING 1
