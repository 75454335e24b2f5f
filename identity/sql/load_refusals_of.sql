-- The refused events that name a customer, the oldest first, behind one of them. Rows: up to `rows_max`. Locks: none.
SELECT refusal_id::text, channel_id::text, reason, event, event_id, visitor_id, customer_id, fields, faults::text,
       (extract(epoch FROM occurred_at) * 1000)::bigint, (extract(epoch FROM received_at) * 1000)::bigint
FROM refusal
WHERE workspace_id = %(workspace_id)s AND bucket = ANY (%(buckets)s::smallint[]) AND customer_id = %(customer_id)s::text
  AND refusal_id > %(after)s::uuid
ORDER BY refusal_id
LIMIT %(rows_max)s
