-- Remember that two customers are not one. Rows: none. Locks: the new row.
INSERT INTO not_same (bucket, workspace_id, customer_id, other_id, actor, note, created_at)
SELECT r.bucket, r.workspace_id, r.customer_id, r.other_id, r.actor, r.note, r.created_at
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, customer_id text, other_id text, actor text, note text, created_at timestamptz
)
ORDER BY r.workspace_id, r.customer_id COLLATE "C", r.other_id COLLATE "C"
ON CONFLICT (workspace_id, customer_id, other_id, bucket) DO NOTHING
