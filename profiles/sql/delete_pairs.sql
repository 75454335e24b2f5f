-- Forget pairs of customer and visitor. Rows: one per pair that was there. Locks: those rows.
DELETE FROM customer_visitor AS p
USING json_to_recordset(%(rows)s::json) AS r (bucket smallint, workspace_id integer, customer_id text, visitor_id text)
WHERE p.workspace_id = r.workspace_id AND p.customer_id = r.customer_id AND p.visitor_id = r.visitor_id
  AND p.bucket = r.bucket AND p.bucket = ANY (%(buckets)s::smallint[])
RETURNING 1
