-- Add to the complete counts. Rows: none. Locks: the counted rows, in key order, as the last of the transaction.
INSERT INTO refusal_count AS c (bucket, workspace_id, channel_id, reason, day, refused)
SELECT r.bucket, r.workspace_id, r.channel_id, r.reason, r.day, r.refused
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, channel_id uuid, reason text, day date, refused bigint
)
ORDER BY r.workspace_id, r.channel_id, r.reason, r.day
ON CONFLICT (workspace_id, channel_id, reason, day, bucket) DO UPDATE SET refused = c.refused + excluded.refused
