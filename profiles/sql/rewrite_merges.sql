-- Write rows of a ledger anew, out of which a customer was erased who was joined once. Rows: one per row.
-- Locks: those rows.
UPDATE merge AS m SET
    is_link = r.is_link, created_customer = r.created_customer, skipped = r.skipped, policy = r.policy,
    source = r.source, event = r.event, event_id = r.event_id, visitor_id = r.visitor_id, channel_id = r.channel_id,
    digest = r.digest, decisions = r.decisions, act = r.act, undoes = r.undoes, act_fields = r.act_fields,
    other_id = r.other_id, actor = r.actor, note = r.note, operation_id = r.operation_id, link = r.link
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, customer_id text, version integer, is_link boolean,
    created_customer boolean, skipped boolean, policy text, source text, event text, event_id text, visitor_id text,
    channel_id uuid, digest text, decisions jsonb, act text, undoes uuid[], act_fields text[], other_id text,
    actor text, note text, operation_id uuid, link text
)
WHERE m.workspace_id = r.workspace_id AND m.customer_id = r.customer_id AND m.version = r.version
  AND m.bucket = r.bucket AND m.bucket = ANY (%(buckets)s::smallint[])
RETURNING 1
