-- The ledger rows that these visitors caused, whichever customers' they are. Rows: all, through a cursor. Locks: none.
SELECT visitor_id, customer_id, version, is_link, event, event_id, (extract(epoch FROM occurred_at) * 1000)::bigint,
       (extract(epoch FROM received_at) * 1000)::bigint
FROM merge
WHERE workspace_id = %(workspace_id)s AND visitor_id = ANY (%(visitor_ids)s::text[] COLLATE "C")
  AND bucket BETWEEN 0 AND 4095
