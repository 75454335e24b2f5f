-- Make a webhook, which begins at a position, unless the workspace has enough of them; twice does no harm.
-- Rows: the webhook, or none if there are too many. Locks: the new key.
INSERT INTO webhook (
    webhook_id, workspace_id, url, description, types, secrets, state, turn, xid, change_id, attempts, created_at,
    updated_at
)
SELECT %(webhook_id)s::uuid, %(workspace_id)s, %(url)s, %(description)s, %(types)s::text[], %(secrets)s::jsonb, 'active',
       0, %(xid)s::bigint, %(change_id)s::uuid, 0, %(now)s::timestamptz, %(now)s::timestamptz
WHERE (
    SELECT count(*) FROM webhook AS w
    WHERE w.workspace_id = %(workspace_id)s AND w.webhook_id <> %(webhook_id)s::uuid
) < %(webhooks_max)s
ON CONFLICT (webhook_id) DO UPDATE SET turn = excluded.turn
RETURNING webhook_id::text, workspace_id, url, description, types, secrets::text, state, turn, xid, change_id::text, attempts,
          (extract(epoch FROM failing_since) * 1000)::bigint, (extract(epoch FROM retry_at) * 1000)::bigint, answer, fault,
          (extract(epoch FROM created_at) * 1000)::bigint, (extract(epoch FROM updated_at) * 1000)::bigint
