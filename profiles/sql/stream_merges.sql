-- The whole ledger of a workspace, for its replay. All buckets on purpose: a row in a wrong one must show.
-- Rows: one per version, in key order, through a cursor. Locks: none.
SELECT bucket, customer_id, skipped, merge_id::text, customer_id, version, is_link, created_customer, policy, source,
       event, event_id, visitor_id, channel_id::text, (extract(epoch FROM occurred_at) * 1000)::bigint,
       (extract(epoch FROM received_at) * 1000)::bigint, digest, decisions::text,
       act, undoes::text[], act_fields, other_id, actor, note, operation_id::text, link, copy_of::text
FROM merge
WHERE workspace_id = %(workspace_id)s AND bucket BETWEEN 0 AND 4095
ORDER BY workspace_id, customer_id, version, bucket
