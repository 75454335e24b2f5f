-- The refused events of a workspace, newest first. Filters that are null do not filter.
-- Rows: up to `rows_max`. Locks: none.
SELECT refusal_id::text, channel_id::text, reason, event, event_id, visitor_id, customer_id, fields, faults::text,
       (extract(epoch FROM occurred_at) * 1000)::bigint, (extract(epoch FROM received_at) * 1000)::bigint
FROM refusal
WHERE workspace_id = %(workspace_id)s
  AND bucket = ANY (%(buckets)s::smallint[])
  AND refusal_id < %(before)s::uuid
  AND refusal_id >= %(not_before)s::uuid
  AND (%(customer_id)s::text IS NULL OR customer_id = %(customer_id)s::text)
  AND (%(visitor_id)s::text IS NULL OR visitor_id = %(visitor_id)s::text)
  AND (%(reason)s::text IS NULL OR reason = %(reason)s::text)
  AND (%(channel_id)s::uuid IS NULL OR channel_id = %(channel_id)s::uuid)
ORDER BY refusal_id DESC
LIMIT %(rows_max)s
