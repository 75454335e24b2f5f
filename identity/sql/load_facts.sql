-- All that was said of these visitors, for events that speak of the past. Rows: in order of arrival. Locks: none.
-- OFFSET 0 keeps the planner from walking a whole index by its buckets, which it takes for few where tables are young.
SELECT f.workspace_id, f.visitor_id, f.version, f.fact_id::text, f.kind, f.applied, f.customer_id, f.channel_id::text,
       f.source, f.event, f.event_id, (extract(epoch FROM f.occurred_at) * 1000)::bigint,
       (extract(epoch FROM f.received_at) * 1000)::bigint, f.decisions::text,
       f.undoes::text[], f.actor, f.note, f.operation_id::text
FROM json_to_recordset(%(keys)s::json) AS k (bucket smallint, workspace_id integer, id text)
CROSS JOIN LATERAL (
    SELECT h.workspace_id, h.visitor_id, h.version, h.fact_id, h.kind, h.applied, h.customer_id, h.channel_id, h.source,
           h.event, h.event_id, h.occurred_at, h.received_at, h.decisions, h.undoes, h.actor, h.note, h.operation_id
    FROM visitor_fact AS h
    WHERE h.workspace_id = k.workspace_id AND h.visitor_id = k.id AND h.bucket = k.bucket
      AND h.bucket = ANY (%(buckets)s::smallint[])
    OFFSET 0
) AS f
ORDER BY f.workspace_id, f.visitor_id, f.version
