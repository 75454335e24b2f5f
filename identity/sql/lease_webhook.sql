-- Take a webhook that nobody has, or whose worker has not been heard of. Rows: the webhook, if it could be had.
-- Locks: its row.
UPDATE webhook SET leased_by = %(worker)s::uuid, leased_until = %(until)s::timestamptz
WHERE webhook_id = %(webhook_id)s::uuid AND state = 'active'
  AND (leased_until IS NULL OR leased_until < %(now)s::timestamptz OR leased_by = %(worker)s::uuid)
RETURNING webhook_id::text, workspace_id, url, description, types, secrets::text, state, turn, xid, change_id::text, attempts,
          (extract(epoch FROM failing_since) * 1000)::bigint, (extract(epoch FROM retry_at) * 1000)::bigint, answer, fault,
          (extract(epoch FROM created_at) * 1000)::bigint, (extract(epoch FROM updated_at) * 1000)::bigint
