-- The identifications and sign-outs of these visitors, from which follows whose their time is, and what takes them back.
-- Rows: up to `points_max` per visitor, the newest. Locks: none.
SELECT f.visitor_id, (extract(epoch FROM f.occurred_at) * 1000)::bigint, f.version, f.customer_id,
       f.fact_id::text, to_json(f.undoes)::text, f.kind = 'erased'
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, id text)
CROSS JOIN LATERAL (
    SELECT h.visitor_id, h.occurred_at, h.version, h.customer_id, h.fact_id, h.undoes, h.kind
    FROM visitor_fact AS h
    WHERE h.workspace_id = k.workspace_id AND h.visitor_id = k.id AND h.bucket = k.bucket
      AND h.bucket = ANY (%(buckets)s::smallint[]) AND h.applied AND h.kind <> 'anonymous'
    ORDER BY h.occurred_at DESC, h.version DESC
    LIMIT %(points_max)s
) AS f
