-- All that was said of these visitors, for events that speak of the past. Rows: in order of arrival. Locks: none.
SELECT f.workspace_id, f.visitor_id, f.version, f.fact_id::text, f.kind, f.applied, f.customer_id, f.channel_id::text,
       f.source, f.event, f.event_id, (extract(epoch FROM f.occurred_at) * 1000)::bigint,
       (extract(epoch FROM f.received_at) * 1000)::bigint, f.decisions::text
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, id text)
JOIN visitor_fact AS f ON f.workspace_id = k.workspace_id AND f.visitor_id = k.id AND f.bucket = k.bucket
WHERE f.bucket = ANY (%(buckets)s::smallint[])
ORDER BY f.workspace_id, f.visitor_id, f.version
