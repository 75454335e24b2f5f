-- Remember event ids. One that is remembered is a lost race: a copy of the event was faster. Rows: none.
-- Locks: the new keys, in key order.
INSERT INTO event_seen (bucket, workspace_id, event_id, received_at)
SELECT r.bucket, r.workspace_id, r.event_id, r.received_at
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, event_id text, received_at timestamptz
)
ORDER BY r.workspace_id, r.event_id COLLATE "C"
ON CONFLICT (workspace_id, event_id, bucket) DO UPDATE SET event_id = lost_race(excluded.event_id)
