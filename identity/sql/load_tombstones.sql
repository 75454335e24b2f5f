-- Which of these customers were erased, by the hashes of their ids. Rows: one per tombstone. Locks: none.
-- OFFSET 0 keeps the planner from walking a whole index by its buckets, which it takes for few where tables are young.
SELECT e.workspace_id, e.customer_hash, e.version, (extract(epoch FROM e.lifted_at) * 1000)::bigint
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, id text)
CROSS JOIN LATERAL (
    SELECT h.workspace_id, h.customer_hash, h.version, h.lifted_at
    FROM erasure AS h
    WHERE h.workspace_id = k.workspace_id AND h.customer_hash = k.id AND h.bucket = k.bucket
      AND h.bucket = ANY (%(buckets)s::smallint[])
    OFFSET 0
) AS e
