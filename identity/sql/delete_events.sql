-- Remove events of one subject's time from `since` up to `until`. Rows: what tells of the transactions among those
-- removed, up to `rows_max`. Locks: those rows.
DELETE FROM event AS e
WHERE e.workspace_id = %(workspace_id)s AND e.is_direct = %(is_direct)s AND e.subject = %(subject)s::text COLLATE "C"
  AND e.bucket = %(bucket)s
  AND (e.occurred_at, e.record_id) IN (
      SELECT h.occurred_at, h.record_id FROM event AS h
      WHERE h.workspace_id = %(workspace_id)s AND h.is_direct = %(is_direct)s
        AND h.subject = %(subject)s::text COLLATE "C" AND h.bucket = %(bucket)s
        AND h.occurred_at >= %(since)s::timestamptz AND h.occurred_at < %(until)s::timestamptz
      LIMIT %(rows_max)s
  )
RETURNING e.record_id::text, e.channel_id::text, e.props ->> 'transaction_id'
