-- What is held of these customers, for the batch that is about to be decided.
-- Rows: one per id that exists. Locks: none; the version read here is the optimistic lock of the save.
-- OFFSET 0 keeps the planner from walking a whole index by its buckets, which it takes for few where tables are young.
SELECT c.workspace_id, c.customer_id, c.version,
       (extract(epoch FROM c.created_at) * 1000)::bigint, (extract(epoch FROM c.updated_at) * 1000)::bigint,
       c.fields::text, c.digest, c.is_gone,
       CASE WHEN c.locks IS NOT NULL OR c.joined_into IS NOT NULL OR c.absorbs IS NOT NULL
            THEN json_build_array(coalesce(c.locks, '{}'), c.joined_into, coalesce(to_json(c.absorbs), '[]'))::text END
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, id text)
CROSS JOIN LATERAL (
    SELECT h.workspace_id, h.customer_id, h.version, h.created_at, h.updated_at, h.fields, h.digest,
           h.is_gone, h.locks, h.joined_into, h.absorbs
    FROM customer AS h
    WHERE h.workspace_id = k.workspace_id AND h.customer_id = k.id AND h.bucket = k.bucket
      AND h.bucket = ANY (%(buckets)s::smallint[])
    OFFSET 0
) AS c
