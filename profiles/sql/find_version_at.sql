-- The last version of a customer that had arrived at an instant. Rows: one, null if there was none. Locks: none.
SELECT max(version)
FROM merge
WHERE workspace_id = %(workspace_id)s AND customer_id = %(customer_id)s::text COLLATE "C" AND bucket = %(bucket)s
  AND received_at <= %(moment)s::timestamptz
