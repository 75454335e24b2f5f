-- Rows of any ledger that are copies of these, oldest first. Rows: mostly none. Locks: none.
SELECT merge_id::text, customer_id, version, is_link, created_customer, policy, source, event, event_id, visitor_id,
       channel_id::text, (extract(epoch FROM occurred_at) * 1000)::bigint,
       (extract(epoch FROM received_at) * 1000)::bigint, digest, decisions::text,
       act, undoes::text[], act_fields, other_id, actor, note, operation_id::text, link, copy_of::text
FROM merge
WHERE workspace_id = %(workspace_id)s AND copy_of = ANY (%(merge_ids)s::uuid[]) AND bucket = ANY (%(buckets)s::smallint[])
ORDER BY customer_id, version
