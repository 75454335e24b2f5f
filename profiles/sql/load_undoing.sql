-- What was taken back of these customers, in version order. Rows: one per act that takes back. Locks: none.
SELECT a.customer_id, a.version, a.merge_id::text, a.undoes::text[]
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, id text)
CROSS JOIN LATERAL (
    SELECT h.customer_id, h.version, h.merge_id, h.undoes
    FROM merge AS h
    WHERE h.workspace_id = k.workspace_id AND h.customer_id = k.id AND h.bucket = k.bucket
      AND h.bucket = ANY (%(buckets)s::smallint[]) AND h.act IS NOT NULL AND h.undoes IS NOT NULL
    OFFSET 0
) AS a
ORDER BY a.customer_id, a.version
