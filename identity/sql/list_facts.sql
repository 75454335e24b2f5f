-- What was said of one visitor up to a version, the latest arrival first. Rows: up to `rows_max`. Locks: none.
SELECT visitor_id, version, fact_id::text, kind, applied, customer_id, channel_id::text, source, event, event_id,
       (extract(epoch FROM occurred_at) * 1000)::bigint, (extract(epoch FROM received_at) * 1000)::bigint,
       decisions::text, undoes::text[], actor, note, operation_id::text
FROM visitor_fact
WHERE workspace_id = %(workspace_id)s AND visitor_id = %(visitor_id)s::text COLLATE "C"
  AND version <= %(version)s AND bucket = %(bucket)s
ORDER BY version DESC
LIMIT %(rows_max)s
