-- Append to the visitors' logs. A version that another writer took first is a lost race.
-- Rows: none. Locks: the new keys, in key order.
INSERT INTO visitor_fact (
    bucket, workspace_id, visitor_id, version, fact_id, kind, applied, customer_id, channel_id, source, event, event_id,
    occurred_at, received_at, decisions, rules, undoes, actor, note, operation_id
)
SELECT r.bucket, r.workspace_id, r.visitor_id, r.version, r.fact_id, r.kind, r.applied, r.customer_id, r.channel_id,
       r.source, r.event, r.event_id, r.occurred_at, r.received_at, r.decisions, r.rules, r.undoes, r.actor, r.note, r.operation_id
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, visitor_id text, version integer, fact_id uuid, kind text, applied boolean,
    customer_id text, channel_id uuid, source text, event text, event_id text, occurred_at timestamptz,
    received_at timestamptz, decisions jsonb, rules smallint, undoes uuid[], actor text, note text,
    operation_id uuid
)
ORDER BY r.workspace_id, r.visitor_id COLLATE "C", r.version
ON CONFLICT (workspace_id, visitor_id, version, bucket) DO UPDATE SET version = lost_race(excluded.version)
