-- The ledger of a workspace, newest first, changes of links alone left out. Filters that are null do not filter;
-- field, verdict and reason must meet in one decision. Rows: up to `rows_max`. Locks: none.
SELECT merge_id::text, customer_id, version, is_link, created_customer, policy, source, event, event_id, visitor_id,
       channel_id::text, (extract(epoch FROM occurred_at) * 1000)::bigint,
       (extract(epoch FROM received_at) * 1000)::bigint, digest, decisions::text,
       act, undoes::text[], act_fields, other_id, actor, note, operation_id::text, link, copy_of::text
FROM merge AS m
WHERE m.workspace_id = %(workspace_id)s
  AND m.bucket = ANY (%(buckets)s::smallint[])
  AND NOT m.is_link
  AND m.merge_id < %(before)s::uuid
  AND m.merge_id >= %(not_before)s::uuid
  AND (%(customer_id)s::text IS NULL OR m.customer_id = %(customer_id)s::text COLLATE "C")
  AND (%(visitor_id)s::text IS NULL OR m.visitor_id = %(visitor_id)s::text COLLATE "C")
  AND (%(channel_id)s::uuid IS NULL OR m.channel_id = %(channel_id)s::uuid)
  AND (%(event)s::text IS NULL OR m.event = %(event)s::text)
  AND (NOT %(skipped)s::boolean OR m.skipped)
  AND (
      (%(field)s::text IS NULL AND %(verdict)s::text IS NULL AND %(reason)s::text IS NULL)
      OR EXISTS (
          SELECT 1 FROM jsonb_array_elements(m.decisions) AS d
          WHERE (%(field)s::text IS NULL OR d ->> 0 = %(field)s::text)
            AND (%(verdict)s::text IS NULL OR d ->> 1 = %(verdict)s::text)
            AND (%(reason)s::text IS NULL OR d ->> 2 = %(reason)s::text)
      )
  )
ORDER BY m.merge_id DESC
LIMIT %(rows_max)s
