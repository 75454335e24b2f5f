-- Let a customer be taken again who was erased. Rows: one; none if nobody was, or that is not done yet. Locks: its row.
UPDATE erasure SET lifted_at = %(now)s::timestamptz, lifted_by = %(actor)s
WHERE workspace_id = %(workspace_id)s AND customer_hash = %(customer_hash)s::text COLLATE "C"
  AND bucket = ANY (%(buckets)s::smallint[]) AND lifted_at IS NULL AND pending IS NULL
RETURNING 1
