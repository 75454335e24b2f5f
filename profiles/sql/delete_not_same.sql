-- Forget that two customers are not one. Rows: none. Locks: the row.
DELETE FROM not_same
WHERE workspace_id = %(workspace_id)s AND customer_id = %(customer_id)s::text COLLATE "C"
  AND other_id = %(other_id)s::text COLLATE "C" AND bucket = %(bucket)s
