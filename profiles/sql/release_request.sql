-- Give up the claim on a request, which may then be tried again. Rows: one if it was claimed. Locks: that key.
DELETE FROM idempotent_request
WHERE workspace_id = %(workspace_id)s AND key_id = %(key_id)s::uuid AND name = %(name)s::bytea AND bucket = %(bucket)s
  AND claim_id = %(claim_id)s::uuid
RETURNING 1
