-- What is held of a request by its Idempotency-Key. Rows: none or one. Locks: none.
SELECT claim_id::text, fingerprint, answer
FROM idempotent_request
WHERE workspace_id = %(workspace_id)s AND key_id = %(key_id)s::uuid AND name = %(name)s::bytea AND bucket = %(bucket)s
