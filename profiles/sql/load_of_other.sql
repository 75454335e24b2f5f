-- The rows of a ledger that speak of another customer, one who is joined or was, oldest first. Rows: all. Locks: none.
SELECT merge_id::text, customer_id, version, is_link, created_customer, policy, source, event, event_id, visitor_id,
       channel_id::text, (extract(epoch FROM occurred_at) * 1000)::bigint,
       (extract(epoch FROM received_at) * 1000)::bigint, digest, decisions::text,
       act, undoes::text[], act_fields, other_id, actor, note, operation_id::text, link, copy_of::text
FROM merge
WHERE workspace_id = %(workspace_id)s AND customer_id = %(customer_id)s::text COLLATE "C" AND bucket = %(bucket)s
  AND other_id = %(other_id)s::text COLLATE "C"
ORDER BY version
