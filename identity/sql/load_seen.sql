-- Which of these event ids were acted upon before. Rows: those. Locks: none.
-- OFFSET 0 keeps the planner from walking a whole index by its buckets, which it takes for few where tables are young.
SELECT s.workspace_id, s.event_id
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, id text)
CROSS JOIN LATERAL (
    SELECT h.workspace_id, h.event_id
    FROM event_seen AS h
    WHERE h.workspace_id = k.workspace_id AND h.event_id = k.id AND h.bucket = k.bucket
      AND h.bucket = ANY (%(buckets)s::smallint[])
    OFFSET 0
) AS s
