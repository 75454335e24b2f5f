-- Write profiles, each the fold of its ledger up to its version.
-- Rows: one per profile written. Locks: those rows, in key order; the ledger's rows are held already.
INSERT INTO customer AS c (
    bucket, workspace_id, customer_id, version, created_at, updated_at, fields, digest, email_key,
    alternate_email_key, mobile_key, alternate_mobile_key
)
SELECT r.bucket, r.workspace_id, r.customer_id, r.version, r.created_at, r.updated_at, r.fields, r.digest, r.email_key,
       r.alternate_email_key, r.mobile_key, r.alternate_mobile_key
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, customer_id text, version integer, created_at timestamptz,
    updated_at timestamptz, fields jsonb, digest text, email_key text, alternate_email_key text, mobile_key text,
    alternate_mobile_key text
)
ORDER BY r.workspace_id, r.customer_id COLLATE "C"
ON CONFLICT (workspace_id, customer_id, bucket) DO UPDATE SET
    version = excluded.version, updated_at = excluded.updated_at, fields = excluded.fields, digest = excluded.digest,
    email_key = excluded.email_key, alternate_email_key = excluded.alternate_email_key,
    mobile_key = excluded.mobile_key, alternate_mobile_key = excluded.alternate_mobile_key
WHERE c.version < excluded.version
RETURNING 1
