-- End a long work, if nobody took it over. Rows: one if it was still theirs. Locks: the row.
UPDATE operation
SET status = %(status)s, updated_at = %(at)s,
    finished_at = CASE WHEN %(status)s IN ('done', 'failed') THEN %(at)s::timestamptz END
WHERE operation_id = %(operation_id)s AND status = 'running' AND progress ->> 'claim' = %(claim)s
RETURNING 1
