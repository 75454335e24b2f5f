-- Which of these customers are erased now, asked once more by who has written rows that name them.
-- Rows: one per erased customer; any means that the transaction must not be committed. Locks: none.
-- OFFSET 0 keeps the planner from walking a whole index by its buckets, which it takes for few where tables are young.
SELECT 1
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, id text)
CROSS JOIN LATERAL (
    SELECT 1
    FROM erasure AS h
    WHERE h.workspace_id = k.workspace_id AND h.customer_hash = k.id AND h.bucket = k.bucket
      AND h.bucket = ANY (%(buckets)s::smallint[]) AND h.lifted_at IS NULL
    OFFSET 0
) AS e
