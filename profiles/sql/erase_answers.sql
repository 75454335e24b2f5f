-- Empty the answers that are kept of requests, which may tell what was held of anybody; that they were given stays known.
-- Rows: one per answer. Locks: those rows.
UPDATE idempotent_request SET answer = ''
WHERE workspace_id = %(workspace_id)s AND bucket = ANY (%(buckets)s::smallint[]) AND length(answer) > 0
RETURNING 1
