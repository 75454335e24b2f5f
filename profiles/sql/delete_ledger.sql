-- Remove the newest rows of an erased customer's ledger. Rows: one per row removed, up to `rows_max`. Locks: those rows.
DELETE FROM merge AS m
WHERE m.workspace_id = %(workspace_id)s AND m.customer_id = %(customer_id)s::text COLLATE "C" AND m.bucket = %(bucket)s
  AND m.version = ANY (ARRAY(
      SELECT h.version FROM merge AS h
      WHERE h.workspace_id = %(workspace_id)s AND h.customer_id = %(customer_id)s::text COLLATE "C"
        AND h.bucket = %(bucket)s
      ORDER BY h.version DESC
      LIMIT %(rows_max)s
  ))
RETURNING 1
