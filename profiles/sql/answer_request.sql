-- Keep what was answered to a request, unless its claim lapsed meanwhile and another worker has it.
-- Rows: one if it is kept. Locks: that key.
UPDATE idempotent_request SET answer = %(answer)s::bytea
WHERE workspace_id = %(workspace_id)s AND key_id = %(key_id)s::uuid AND name = %(name)s::bytea AND bucket = %(bucket)s
  AND claim_id = %(claim_id)s::uuid
RETURNING 1
