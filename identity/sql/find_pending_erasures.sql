-- Erasures of a workspace that were begun before a moment and are not done. Rows: one each. Locks: none.
SELECT bucket, customer_hash, erasure_id::text, version, actor, (extract(epoch FROM erased_at) * 1000)::bigint,
       pending::text, receipt::text, (extract(epoch FROM lifted_at) * 1000)::bigint, lifted_by
FROM erasure
WHERE workspace_id = %(workspace_id)s AND pending IS NOT NULL AND bucket = ANY (%(buckets)s::smallint[])
  AND erased_at < %(before)s::timestamptz
