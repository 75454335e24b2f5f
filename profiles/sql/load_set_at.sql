-- When what these versions of a customer told happened. Rows: one per version. Locks: none.
SELECT version, (extract(epoch FROM occurred_at) * 1000)::bigint
FROM merge
WHERE workspace_id = %(workspace_id)s AND customer_id = %(customer_id)s::text COLLATE "C"
  AND version = ANY (%(versions)s::integer[]) AND bucket = %(bucket)s
