-- Clear the id of a customer out of the events of visitors whose senders named it. Rows: one per event. Locks: those rows.
UPDATE event SET customer_id = NULL
WHERE workspace_id = %(workspace_id)s AND NOT is_direct AND customer_id = %(customer_id)s::text COLLATE "C"
  AND bucket = ANY (%(buckets)s::smallint[])
  AND (subject, occurred_at, record_id) IN (
      SELECT h.subject, h.occurred_at, h.record_id FROM event AS h
      WHERE h.workspace_id = %(workspace_id)s AND NOT h.is_direct AND h.customer_id = %(customer_id)s::text COLLATE "C"
        AND h.bucket = ANY (%(buckets)s::smallint[])
      LIMIT %(rows_max)s
  )
RETURNING 1
