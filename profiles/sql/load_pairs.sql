-- The visitors of these customers, the latest linked first. Rows: up to `visitors_max` per customer. Locks: none.
SELECT p.workspace_id, p.customer_id, p.visitor_id, (extract(epoch FROM p.linked_at) * 1000)::bigint, p.is_current
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, id text)
CROSS JOIN LATERAL (
    SELECT h.workspace_id, h.customer_id, h.visitor_id, h.linked_at, h.is_current
    FROM customer_visitor AS h
    WHERE h.workspace_id = k.workspace_id AND h.customer_id = k.id AND h.bucket = k.bucket
      AND h.bucket = ANY (%(buckets)s::smallint[])
    ORDER BY h.is_current DESC, h.linked_at DESC, h.visitor_id
    LIMIT %(visitors_max)s
) AS p
