-- Append to the footprint. Rows: one per row written. Locks: none but the new keys.
INSERT INTO event (
    bucket, workspace_id, is_direct, subject, occurred_at, record_id, kept_until, received_at, channel_id, type, label,
    event_id, customer_id, order_id, revenue, currency, props, remarks
)
SELECT r.bucket, r.workspace_id, r.is_direct, r.subject, r.occurred_at, r.record_id, r.kept_until, r.received_at,
       r.channel_id, r.type, r.label, r.event_id, r.customer_id, r.order_id, r.revenue, r.currency, r.props, r.remarks
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, is_direct boolean, subject text, occurred_at timestamptz, record_id uuid,
    kept_until date, received_at timestamptz, channel_id uuid, type text, label text, event_id text, customer_id text,
    order_id text, revenue double precision, currency text, props jsonb, remarks jsonb
)
ORDER BY r.workspace_id, r.is_direct, r.subject COLLATE "C", r.occurred_at, r.record_id, r.kept_until
ON CONFLICT (workspace_id, is_direct, subject, occurred_at, record_id, kept_until, bucket) DO NOTHING
RETURNING 1
