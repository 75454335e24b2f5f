-- The tombstones of a workspace in order of their hashes, behind one of them. Rows: up to `rows_max`. Locks: none.
SELECT bucket, customer_hash, erasure_id::text, version, actor, (extract(epoch FROM erased_at) * 1000)::bigint,
       pending::text, receipt::text, (extract(epoch FROM lifted_at) * 1000)::bigint, lifted_by
FROM erasure
WHERE workspace_id = %(workspace_id)s AND bucket = ANY (%(buckets)s::smallint[])
  AND customer_hash > %(after)s::text COLLATE "C"
ORDER BY customer_hash
LIMIT %(rows_max)s
