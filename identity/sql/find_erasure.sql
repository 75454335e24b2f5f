-- One tombstone. Rows: none or one. Locks: none.
SELECT bucket, customer_hash, erasure_id::text, version, actor, (extract(epoch FROM erased_at) * 1000)::bigint,
       pending::text, receipt::text, (extract(epoch FROM lifted_at) * 1000)::bigint, lifted_by
FROM erasure
WHERE workspace_id = %(workspace_id)s AND customer_hash = %(customer_hash)s::text COLLATE "C"
  AND bucket = ANY (%(buckets)s::smallint[])
