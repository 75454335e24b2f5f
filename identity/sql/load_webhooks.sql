-- All webhooks, for the workers to share out, and to count. Rows: one each. Locks: none.
SELECT webhook_id::text, workspace_id, state, failing_since IS NOT NULL, turn, leased_by::text,
       (extract(epoch FROM leased_until) * 1000)::bigint
FROM webhook
