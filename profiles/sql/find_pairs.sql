-- What is held of these pairs of customer and visitor. Rows: one per pair that exists. Locks: none.
SELECT p.customer_id, p.visitor_id, (extract(epoch FROM p.linked_at) * 1000)::bigint, p.is_current
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, customer_id text, visitor_id text)
JOIN customer_visitor AS p
  ON p.workspace_id = k.workspace_id AND p.customer_id = k.customer_id AND p.visitor_id = k.visitor_id
 AND p.bucket = k.bucket
WHERE p.bucket = ANY (%(buckets)s::smallint[])
