-- Forget the answers that no caller asks for any more. Rows: none. Locks: the deleted rows.
DELETE FROM idempotent_request
WHERE workspace_id = %(workspace_id)s AND bucket = ANY (%(buckets)s::smallint[])
  AND claimed_at < %(before)s::timestamptz
