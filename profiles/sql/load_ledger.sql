-- The ledger of a customer from a version on, oldest first: rows that offered something to a wanted field, the rows named,
-- and locks; null: all rows. Left out: whose decisions contain every pattern of `unchanged`; those that skipped nothing, if
-- only others are asked for. Rows: up to `rows_max`. Locks: none.
SELECT merge_id::text, customer_id, version, is_link, created_customer, policy, source, event, event_id, visitor_id,
       channel_id::text, (extract(epoch FROM occurred_at) * 1000)::bigint,
       (extract(epoch FROM received_at) * 1000)::bigint, digest, decisions::text,
       act, undoes::text[], act_fields, other_id, actor, note, operation_id::text, link, copy_of::text
FROM merge
WHERE workspace_id = %(workspace_id)s AND customer_id = %(customer_id)s::text COLLATE "C" AND bucket = %(bucket)s
  AND version >= %(first)s AND version <= %(last)s
  AND (skipped OR act IS NOT NULL OR NOT %(only_skipped)s::boolean)
  AND (
      %(wanted)s::jsonb[] IS NULL OR decisions @> ANY (%(wanted)s::jsonb[]) OR act IN ('lock', 'unlock')
      OR version = ANY (%(versions)s::integer[])
  )
  AND (%(unchanged)s::jsonb[] IS NULL OR NOT decisions @> ALL (%(unchanged)s::jsonb[]))
ORDER BY version
LIMIT %(rows_max)s
