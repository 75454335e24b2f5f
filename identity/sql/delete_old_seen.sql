-- Forget event ids that no client retries any more. Rows: none. Locks: the deleted rows.
DELETE FROM event_seen
WHERE workspace_id = %(workspace_id)s AND bucket = ANY (%(buckets)s::smallint[])
  AND received_at < %(before)s::timestamptz
