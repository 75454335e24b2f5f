-- Whose these visitors are now, for the batch that is about to be decided.
-- Rows: one per id that exists. Locks: none; the version read here is the optimistic lock of the save.
SELECT v.workspace_id, v.visitor_id, v.version, v.customer_id, (extract(epoch FROM v.since) * 1000)::bigint,
       v.last_customer_id, (extract(epoch FROM v.last_since) * 1000)::bigint, v.anonymous::text
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, id text)
JOIN visitor AS v ON v.workspace_id = k.workspace_id AND v.visitor_id = k.id AND v.bucket = k.bucket
WHERE v.bucket = ANY (%(buckets)s::smallint[])
