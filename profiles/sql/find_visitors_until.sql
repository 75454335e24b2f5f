-- The visitors that the ledger of a customer had named by an instant. Rows: one per visitor, up to `rows_max`. Locks: none.
SELECT DISTINCT visitor_id
FROM merge
WHERE workspace_id = %(workspace_id)s AND customer_id = %(customer_id)s::text COLLATE "C" AND bucket = %(bucket)s
  AND visitor_id IS NOT NULL AND received_at <= %(moment)s::timestamptz
LIMIT %(rows_max)s
