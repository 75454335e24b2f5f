-- Make sure that none of these customers is erased now, once more, for who has written rows that name them: else the
-- race is lost. Rows: none. Locks: none.
-- OFFSET 0 keeps the planner from walking a whole index by its buckets, which it takes for few where tables are young.
SELECT lost_race(k.workspace_id)
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, id text)
CROSS JOIN LATERAL (
    SELECT 1
    FROM erasure AS h
    WHERE h.workspace_id = k.workspace_id AND h.customer_hash = k.id AND h.bucket = k.bucket
      AND h.bucket = ANY (%(buckets)s::smallint[]) AND h.lifted_at IS NULL
    OFFSET 0
) AS e
