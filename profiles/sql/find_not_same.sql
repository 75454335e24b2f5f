-- Which of these customers are known not to be one another. Rows: one per pair. Locks: none.
SELECT customer_id, other_id
FROM not_same
WHERE workspace_id = %(workspace_id)s AND customer_id = ANY (%(customer_ids)s::text[] COLLATE "C")
  AND other_id = ANY (%(customer_ids)s::text[] COLLATE "C") AND bucket = ANY (%(buckets)s::smallint[])
