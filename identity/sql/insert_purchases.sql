-- Remember transactions. Rows: one per transaction; fewer than given means that another teller was faster.
-- Locks: the new keys, in key order.
INSERT INTO purchase (bucket, workspace_id, transaction_id, record_id, received_at)
SELECT r.bucket, r.workspace_id, r.transaction_id, r.record_id, r.received_at
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, transaction_id text, record_id uuid, received_at timestamptz
)
ORDER BY r.workspace_id, r.transaction_id COLLATE "C"
ON CONFLICT (workspace_id, transaction_id, bucket) DO NOTHING
RETURNING 1
