-- What is held of these pairs of customer and visitor. Rows: one per pair that exists. Locks: none.
-- OFFSET 0 keeps the planner from walking a whole index by its buckets, which it takes for few where tables are young.
SELECT p.customer_id, p.visitor_id, (extract(epoch FROM p.linked_at) * 1000)::bigint, p.is_current
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, customer_id text, visitor_id text)
CROSS JOIN LATERAL (
    SELECT h.customer_id, h.visitor_id, h.linked_at, h.is_current
    FROM customer_visitor AS h
    WHERE h.workspace_id = k.workspace_id AND h.customer_id = k.customer_id AND h.visitor_id = k.visitor_id
      AND h.bucket = k.bucket AND h.bucket = ANY (%(buckets)s::smallint[])
    OFFSET 0
) AS p
