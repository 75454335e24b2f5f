-- Remember which visitors were linked to which customers.
-- Rows: none. Locks: those rows, in key order.
INSERT INTO customer_visitor AS p (bucket, workspace_id, customer_id, visitor_id, linked_at, is_current)
SELECT r.bucket, r.workspace_id, r.customer_id, r.visitor_id, r.linked_at, r.is_current
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, customer_id text, visitor_id text, linked_at timestamptz, is_current boolean
)
ORDER BY r.workspace_id, r.customer_id COLLATE "C", r.visitor_id COLLATE "C"
ON CONFLICT (workspace_id, customer_id, visitor_id, bucket) DO UPDATE SET
    linked_at = greatest(p.linked_at, excluded.linked_at), is_current = excluded.is_current
