-- Put tombstones in the places of customers. One that was lifted counts again. Rows: one each. Locks: those rows, in
-- key order.
INSERT INTO erasure AS e (
    bucket, workspace_id, customer_hash, erasure_id, version, actor, erased_at, pending, receipt
)
SELECT r.bucket, r.workspace_id, r.customer_hash, r.erasure_id, r.version, r.actor, r.erased_at, r.pending, r.receipt
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, customer_hash text, erasure_id uuid, version integer, actor text,
    erased_at timestamptz, pending jsonb, receipt jsonb
)
ORDER BY r.workspace_id, r.customer_hash COLLATE "C"
ON CONFLICT (workspace_id, customer_hash, bucket) DO UPDATE SET
    erasure_id = excluded.erasure_id, version = greatest(e.version, excluded.version), actor = excluded.actor,
    erased_at = excluded.erased_at, pending = excluded.pending, receipt = excluded.receipt, lifted_at = NULL,
    lifted_by = NULL, xid = DEFAULT
RETURNING 1
