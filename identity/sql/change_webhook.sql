-- Change what is given of a webhook that is at this turn; what is null stays. Whatever it had been failing at is tried
-- anew, by whichever worker takes it next. Rows: the webhook, if it was at this turn. Locks: its row.
UPDATE webhook SET
    url = coalesce(%(url)s, url), description = coalesce(%(description)s, description),
    types = coalesce(%(types)s::text[], types), secrets = coalesce(%(secrets)s::jsonb, secrets),
    state = coalesce(%(state)s, state), xid = coalesce(%(xid)s::bigint, xid),
    change_id = coalesce(%(change_id)s::uuid, change_id), turn = turn + 1, attempts = 0, failing_since = NULL,
    retry_at = NULL, leased_by = NULL, leased_until = NULL, updated_at = %(now)s::timestamptz
WHERE workspace_id = %(workspace_id)s AND webhook_id = %(webhook_id)s::uuid AND turn = %(turn)s
RETURNING webhook_id::text, workspace_id, url, description, types, secrets::text, state, turn, xid, change_id::text, attempts,
          (extract(epoch FROM failing_since) * 1000)::bigint, (extract(epoch FROM retry_at) * 1000)::bigint, answer, fault,
          (extract(epoch FROM created_at) * 1000)::bigint, (extract(epoch FROM updated_at) * 1000)::bigint
