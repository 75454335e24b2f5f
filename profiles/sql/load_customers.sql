-- What is held of these customers, for the batch that is about to be decided.
-- Rows: one per id that exists. Locks: none; the version read here is the optimistic lock of the save.
SELECT c.workspace_id, c.customer_id, c.version,
       (extract(epoch FROM c.created_at) * 1000)::bigint, (extract(epoch FROM c.updated_at) * 1000)::bigint,
       c.fields::text, c.digest
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, id text)
JOIN customer AS c ON c.workspace_id = k.workspace_id AND c.customer_id = k.id AND c.bucket = k.bucket
WHERE c.bucket = ANY (%(buckets)s::smallint[])
