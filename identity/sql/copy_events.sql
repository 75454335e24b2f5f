-- Append to the footprint. Rows: none. Locks: none but the new keys.
COPY event (
    bucket, workspace_id, is_direct, subject, occurred_at, record_id, kept_until, received_at, channel_id, type, label,
    event_id, customer_id, order_id, revenue, currency, props, remarks
) FROM STDIN
