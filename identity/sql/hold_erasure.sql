-- Let whoever works on an erasure take turns. Rows: its receipt so far; none once it is done.
-- Locks: its row, until the end of the transaction.
UPDATE erasure SET pending = pending
WHERE workspace_id = %(workspace_id)s AND customer_hash = %(customer_hash)s::text COLLATE "C" AND bucket = %(bucket)s
  AND pending IS NOT NULL
RETURNING receipt::text
