-- All visitors of a workspace, for the replay of their facts. All buckets on purpose: a row in a wrong one must show.
-- Rows: one per visitor, in key order, through a cursor. Locks: none.
SELECT bucket, visitor_id, version, customer_id, (extract(epoch FROM since) * 1000)::bigint, last_customer_id,
       (extract(epoch FROM last_since) * 1000)::bigint, anonymous::text
FROM visitor
WHERE workspace_id = %(workspace_id)s AND bucket BETWEEN 0 AND 4095
ORDER BY workspace_id, visitor_id, bucket
