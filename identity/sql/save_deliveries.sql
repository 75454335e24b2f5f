-- Remember what became of changes that were sent to webhooks. Rows: one each. Locks: those rows, in key order.
INSERT INTO webhook_delivery AS d (
    bucket, workspace_id, webhook_id, change_id, is_delivered, attempts, answer, fault, milliseconds, tried_at
)
SELECT r.bucket, r.workspace_id, r.webhook_id, r.change_id, r.is_delivered, 1, r.answer, r.fault, r.milliseconds,
       r.tried_at
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, webhook_id uuid, change_id uuid, is_delivered boolean, answer smallint,
    fault text, milliseconds integer, tried_at timestamptz
)
ORDER BY r.workspace_id, r.webhook_id, r.change_id
ON CONFLICT (workspace_id, webhook_id, change_id, bucket) DO UPDATE SET
    is_delivered = excluded.is_delivered, attempts = d.attempts + 1, answer = excluded.answer, fault = excluded.fault,
    milliseconds = excluded.milliseconds, tried_at = excluded.tried_at
RETURNING change_id::text, attempts
