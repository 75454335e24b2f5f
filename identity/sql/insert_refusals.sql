-- List refused events. Rows: none. Locks: the new keys.
INSERT INTO refusal (
    bucket, workspace_id, refusal_id, channel_id, reason, event, event_id, visitor_id, customer_id, fields, faults,
    occurred_at, received_at
)
SELECT r.bucket, r.workspace_id, r.refusal_id, r.channel_id, r.reason, r.event, r.event_id, r.visitor_id,
       r.customer_id, r.fields, r.faults, r.occurred_at, r.received_at
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, refusal_id uuid, channel_id uuid, reason text, event text, event_id text,
    visitor_id text, customer_id text, fields text[], faults jsonb,
    occurred_at timestamptz, received_at timestamptz
)
ORDER BY r.workspace_id, r.refusal_id
ON CONFLICT (workspace_id, refusal_id, bucket) DO UPDATE SET refusal_id = lost_race(excluded.refusal_id)
