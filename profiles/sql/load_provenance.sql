-- Which merges took these versions of a customer. Rows: one per version. Locks: none.
SELECT version, merge_id::text, event, channel_id::text
FROM merge
WHERE workspace_id = %(workspace_id)s AND customer_id = %(customer_id)s::text COLLATE "C"
  AND version = ANY (%(versions)s::integer[]) AND bucket = %(bucket)s
