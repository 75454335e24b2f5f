-- Whose these visitors are now, for the batch that is about to be decided.
-- Rows: one per id that exists. Locks: none; the version read here is the optimistic lock of the save.
-- OFFSET 0 keeps the planner from walking a whole index by its buckets, which it takes for few where tables are young.
SELECT v.workspace_id, v.visitor_id, v.version, v.customer_id, (extract(epoch FROM v.since) * 1000)::bigint,
       v.last_customer_id, (extract(epoch FROM v.last_since) * 1000)::bigint, v.anonymous::text
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, id text)
CROSS JOIN LATERAL (
    SELECT h.workspace_id, h.visitor_id, h.version, h.customer_id, h.since, h.last_customer_id, h.last_since, h.anonymous
    FROM visitor AS h
    WHERE h.workspace_id = k.workspace_id AND h.visitor_id = k.id AND h.bucket = k.bucket
      AND h.bucket = ANY (%(buckets)s::smallint[])
    OFFSET 0
) AS v
