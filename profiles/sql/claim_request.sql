-- Claim a request by its Idempotency-Key: a new one, one that is past its retention, or the same one again of a worker
-- that never answered it. Rows: one if the claim is had, else none. Locks: that key.
INSERT INTO idempotent_request AS held (bucket, workspace_id, key_id, name, fingerprint, claim_id, claimed_at)
SELECT r.bucket, r.workspace_id, r.key_id, r.name, r.fingerprint, r.claim_id, r.claimed_at
FROM (VALUES (
    %(bucket)s::smallint, %(workspace_id)s::integer, %(key_id)s::uuid, %(name)s::bytea, %(fingerprint)s::bytea,
    %(claim_id)s::uuid, %(now)s::timestamptz
)) AS r (bucket, workspace_id, key_id, name, fingerprint, claim_id, claimed_at)
ORDER BY r.workspace_id, r.key_id, r.name
ON CONFLICT (workspace_id, key_id, name, bucket) DO UPDATE
SET fingerprint = excluded.fingerprint, claim_id = excluded.claim_id, claimed_at = excluded.claimed_at, answer = NULL
WHERE held.claimed_at < %(expired)s::timestamptz
   OR (held.answer IS NULL AND held.claimed_at < %(lapsed)s::timestamptz AND held.fingerprint = excluded.fingerprint)
RETURNING 1
