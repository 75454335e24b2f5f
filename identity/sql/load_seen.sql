-- Which of these event ids were acted upon before. Rows: those. Locks: none.
SELECT s.workspace_id, s.event_id
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, id text)
JOIN event_seen AS s ON s.workspace_id = k.workspace_id AND s.event_id = k.id AND s.bucket = k.bucket
WHERE s.bucket = ANY (%(buckets)s::smallint[])
