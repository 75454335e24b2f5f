-- Clear the event ids of an erased customer where they are told in the ledgers of others, whom the same visitor left.
-- Rows: one per row cleared. Locks: those rows.
UPDATE merge SET event_id = NULL
WHERE workspace_id = %(workspace_id)s AND visitor_id = %(visitor_id)s::text COLLATE "C"
  AND event_id = ANY (%(event_ids)s::text[] COLLATE "C") AND bucket = ANY (%(buckets)s::smallint[])
  AND customer_id <> ALL (%(customer_ids)s::text[] COLLATE "C")
RETURNING 1
