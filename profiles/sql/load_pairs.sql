-- The visitors of these customers, the latest linked first. Rows: up to `visitors_max` per customer. Locks: none.
SELECT workspace_id, customer_id, visitor_id, (extract(epoch FROM linked_at) * 1000)::bigint, is_current
FROM (
    SELECT p.workspace_id, p.customer_id, p.visitor_id, p.linked_at, p.is_current,
           row_number() OVER (
               PARTITION BY p.bucket, p.workspace_id, p.customer_id ORDER BY p.is_current DESC, p.linked_at DESC, p.visitor_id
           ) AS place
    FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, id text)
    JOIN customer_visitor AS p ON p.workspace_id = k.workspace_id AND p.customer_id = k.id AND p.bucket = k.bucket
    WHERE p.bucket = ANY (%(buckets)s::smallint[])
) AS ranked
WHERE place <= %(visitors_max)s
ORDER BY workspace_id, customer_id, place
