-- All that was said of the visitors of a workspace, for its replay. All buckets on purpose: a row in a wrong one must
-- show. Rows: one per version, in key order, through a cursor. Locks: none.
SELECT bucket, visitor_id, version, fact_id::text, kind, applied, customer_id, channel_id::text, source, event, event_id,
       (extract(epoch FROM occurred_at) * 1000)::bigint, (extract(epoch FROM received_at) * 1000)::bigint,
       decisions::text, undoes::text[], actor, note, operation_id::text
FROM visitor_fact
WHERE workspace_id = %(workspace_id)s AND bucket BETWEEN 0 AND 4095
ORDER BY workspace_id, visitor_id, version, bucket
