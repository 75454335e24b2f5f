-- The webhooks of a workspace, or the one named, newest first. Rows: one each. Locks: none.
SELECT webhook_id::text, workspace_id, url, description, types, secrets::text, state, turn, xid, change_id::text, attempts,
       (extract(epoch FROM failing_since) * 1000)::bigint, (extract(epoch FROM retry_at) * 1000)::bigint, answer, fault,
       (extract(epoch FROM created_at) * 1000)::bigint, (extract(epoch FROM updated_at) * 1000)::bigint
FROM webhook
WHERE workspace_id = %(workspace_id)s AND (%(webhook_id)s::uuid IS NULL OR webhook_id = %(webhook_id)s::uuid)
ORDER BY created_at DESC, webhook_id
