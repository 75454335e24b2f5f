-- Append to the ledger. A version that another writer took first is a lost race.
-- Rows: none. Locks: the new keys, in key order.
INSERT INTO merge (
    bucket, workspace_id, customer_id, version, merge_id, is_link, created_customer, skipped, policy, source, event,
    event_id, visitor_id, channel_id, occurred_at, received_at, digest, decisions, rules,
    act, undoes, act_fields, other_id, actor, note, operation_id, link, copy_of
)
SELECT r.bucket, r.workspace_id, r.customer_id, r.version, r.merge_id, r.is_link, r.created_customer, r.skipped,
       r.policy, r.source, r.event, r.event_id, r.visitor_id, r.channel_id, r.occurred_at, r.received_at, r.digest,
       r.decisions, r.rules, r.act, r.undoes, r.act_fields, r.other_id, r.actor, r.note, r.operation_id, r.link,
       r.copy_of
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, customer_id text, version integer, merge_id uuid, is_link boolean,
    created_customer boolean, skipped boolean, policy text, source text, event text, event_id text, visitor_id text,
    channel_id uuid, occurred_at timestamptz, received_at timestamptz, digest text, decisions jsonb, rules smallint,
    act text, undoes uuid[], act_fields text[], other_id text, actor text, note text, operation_id uuid, link text,
    copy_of uuid
)
ORDER BY r.workspace_id, r.customer_id COLLATE "C", r.version
ON CONFLICT (workspace_id, customer_id, version, bucket) DO UPDATE SET version = lost_race(excluded.version)
