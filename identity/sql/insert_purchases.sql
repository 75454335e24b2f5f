-- Remember transactions. One that is remembered is a lost race: another teller was faster. Rows: none.
-- Locks: the new keys, in key order.
INSERT INTO purchase (bucket, workspace_id, transaction_id, record_id, received_at)
SELECT r.bucket, r.workspace_id, r.transaction_id, r.record_id, r.received_at
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, transaction_id text, record_id uuid, received_at timestamptz
)
ORDER BY r.workspace_id, r.transaction_id COLLATE "C"
ON CONFLICT (workspace_id, transaction_id, bucket) DO UPDATE SET transaction_id = lost_race(excluded.transaction_id)
