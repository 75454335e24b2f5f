-- Rows of the ledger that a bulk undo may take back, oldest first: merges and links or, of an operation, its undoings too.
-- What a join, or taking apart, copied came with neither the channel nor the event that it names; it goes with its original.
-- Filters that are null do not filter. Rows: up to `rows_max`. Locks: none.
SELECT merge_id::text, customer_id, is_link, link, visitor_id
FROM merge
WHERE workspace_id = %(workspace_id)s
  AND bucket = ANY (%(buckets)s::smallint[])
  AND merge_id > %(after)s::uuid
  AND merge_id < %(before)s::uuid
  AND (%(channel_id)s::uuid IS NULL OR channel_id = %(channel_id)s::uuid)
  AND (%(visitor_id)s::text IS NULL OR visitor_id = %(visitor_id)s::text COLLATE "C")
  AND (%(customer_id)s::text IS NULL OR customer_id = %(customer_id)s::text COLLATE "C")
  AND (%(event)s::text IS NULL OR event = %(event)s::text)
  AND (%(operation_id)s::uuid IS NULL OR operation_id = %(operation_id)s::uuid)
  AND ((act IS NULL AND copy_of IS NULL) OR (act = 'undo' AND %(operation_id)s::uuid IS NOT NULL))
ORDER BY merge_id
LIMIT %(rows_max)s
