-- All tombstones of a workspace, for the replay of its ledger. All buckets on purpose: a row in a wrong one must show.
-- Rows: one per erased customer, in key order, through a cursor. Locks: none.
SELECT bucket, customer_hash, version, (extract(epoch FROM lifted_at) * 1000)::bigint, pending IS NOT NULL
FROM erasure
WHERE workspace_id = %(workspace_id)s AND bucket BETWEEN 0 AND 4095
ORDER BY workspace_id, customer_hash, bucket
