-- Remove visitors of a customer who is being erased. Rows: when each was linked. Locks: those rows.
DELETE FROM customer_visitor
WHERE workspace_id = %(workspace_id)s AND customer_id = %(customer_id)s::text COLLATE "C" AND bucket = %(bucket)s
  AND visitor_id = ANY (%(visitor_ids)s::text[] COLLATE "C")
RETURNING (extract(epoch FROM linked_at) * 1000)::bigint
