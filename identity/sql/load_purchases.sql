-- Which of these transactions were told before. Rows: those. Locks: none.
-- OFFSET 0 keeps the planner from walking a whole index by its buckets, which it takes for few where tables are young.
SELECT p.workspace_id, p.transaction_id
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, id text)
CROSS JOIN LATERAL (
    SELECT h.workspace_id, h.transaction_id
    FROM purchase AS h
    WHERE h.workspace_id = k.workspace_id AND h.transaction_id = k.id AND h.bucket = k.bucket
      AND h.bucket = ANY (%(buckets)s::smallint[])
    OFFSET 0
) AS p
