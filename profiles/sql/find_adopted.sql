-- The merges by which a customer got the values of an anonymous visitor, in the moment of an identification. Those that
-- a join, or taking apart, brought from another ledger arrived later, and have an actor. Rows: mostly none or one. Locks: none.
SELECT merge_id::text, customer_id, version, is_link, created_customer, policy, source, event, event_id, visitor_id,
       channel_id::text, (extract(epoch FROM occurred_at) * 1000)::bigint,
       (extract(epoch FROM received_at) * 1000)::bigint, digest, decisions::text,
       act, undoes::text[], act_fields, other_id, actor, note, operation_id::text, link, copy_of::text
FROM merge
WHERE workspace_id = %(workspace_id)s AND customer_id = %(customer_id)s::text COLLATE "C" AND bucket = %(bucket)s
  AND visitor_id = %(visitor_id)s::text COLLATE "C" AND source = 'anonymous'
  AND occurred_at = %(occurred_at)s::timestamptz
  AND (received_at = %(received_at)s::timestamptz OR actor IS NOT NULL)
ORDER BY version
