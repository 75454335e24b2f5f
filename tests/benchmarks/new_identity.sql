-- One new identity as the service writes it, one row a statement, one transaction each. The product's own statements
-- take the rows of a batch as JSON; these are what they come to for one row. Variables: first (which ids are free).
\set i :i + 1
\set n :first + :client_id * 100000 + :i
\set id (:n * 48271 % 2147483647) * 69621 % 2147483647
BEGIN;
INSERT INTO merge (
    bucket, workspace_id, customer_id, version, merge_id, is_link, created_customer, skipped, policy, source, event,
    event_id, visitor_id, channel_id, occurred_at, received_at, digest, decisions
) VALUES (
    1910, 1, 'member-' || lpad((:id)::text, 10, '0'), 1, lpad(to_hex((:n)::bigint), 32, '0')::uuid, false, true, false,
    'overwrite', 'channel', 'clIdentity', NULL, 'visitor-' || lpad((:id)::text, 10, '0'),
    '11111111-1111-4111-8111-111111111111', '2026-06-01T08:30:00.000Z', '2026-06-01T08:30:00.000Z',
    md5((:id)::text),
    replace('[["display_email", "set", null, null, "member-{id}@example.com", null], ["display_name", "set", null, null, "Member {id}", null], ["display_mobile", "set", null, null, "+886{id}", null], ["gender", "set", null, null, "female", null], ["birth", "set", null, null, "1990-05-17", null], ["address", "set", null, null, "No. 7, Section 5, Xinyi Road, Taipei", null]]', '{id}', lpad((:id)::text, 10, '0'))::jsonb
) ON CONFLICT (workspace_id, customer_id, version, bucket) DO UPDATE SET version = lost_race(excluded.version);
INSERT INTO customer AS c (
    bucket, workspace_id, customer_id, version, created_at, updated_at, fields, digest, email_key,
    alternate_email_key, mobile_key, alternate_mobile_key
) VALUES (
    1910, 1, 'member-' || lpad((:id)::text, 10, '0'), 1, '2026-06-01T08:30:00.000Z', '2026-06-01T08:30:00.000Z',
    replace('{"birth": ["1990-05-17", 1795291592016, 1], "gender": ["female", 1795291592016, 1], "address": ["No. 7, Section 5, Xinyi Road, Taipei", 1795291592016, 1], "display_name": ["Member {id}", 1795291592016, 1], "display_email": ["member-{id}@example.com", 1795291592016, 1], "display_mobile": ["+886{id}", 1795291592016, 1]}', '{id}', lpad((:id)::text, 10, '0'))::jsonb,
    md5((:id)::text), 'member-' || lpad((:id)::text, 10, '0') || '@example.com', NULL,
    '+886' || lpad((:id)::text, 10, '0'), NULL
) ON CONFLICT (workspace_id, customer_id, bucket) DO UPDATE SET
    version = CASE WHEN c.version < excluded.version THEN excluded.version ELSE lost_race(c.version) END,
    updated_at = excluded.updated_at, fields = excluded.fields, digest = excluded.digest,
    email_key = excluded.email_key, alternate_email_key = excluded.alternate_email_key,
    mobile_key = excluded.mobile_key, alternate_mobile_key = excluded.alternate_mobile_key;
INSERT INTO customer_visitor AS p (bucket, workspace_id, customer_id, visitor_id, linked_at, is_current) VALUES (
    1910, 1, 'member-' || lpad((:id)::text, 10, '0'), 'visitor-' || lpad((:id)::text, 10, '0'),
    '2026-06-01T08:30:00.000Z', true
) ON CONFLICT (workspace_id, customer_id, visitor_id, bucket) DO UPDATE SET
    linked_at = greatest(p.linked_at, excluded.linked_at), is_current = excluded.is_current;
INSERT INTO visitor_fact (
    bucket, workspace_id, visitor_id, version, fact_id, kind, applied, customer_id, channel_id, source, event, event_id,
    occurred_at, received_at, decisions
) VALUES (
    1910, 1, 'visitor-' || lpad((:id)::text, 10, '0'), 1, lpad(to_hex((:n)::bigint), 32, '0')::uuid, 'identified', true,
    'member-' || lpad((:id)::text, 10, '0'), '11111111-1111-4111-8111-111111111111', 'channel', 'clIdentity', NULL,
    '2026-06-01T08:30:00.000Z', '2026-06-01T08:30:00.000Z', '[]'
) ON CONFLICT (workspace_id, visitor_id, version, bucket) DO UPDATE SET version = lost_race(excluded.version);
INSERT INTO visitor AS v (bucket, workspace_id, visitor_id, version, customer_id, since, last_customer_id, anonymous)
VALUES (
    1910, 1, 'visitor-' || lpad((:id)::text, 10, '0'), 1, 'member-' || lpad((:id)::text, 10, '0'),
    '2026-06-01T08:30:00.000Z', 'member-' || lpad((:id)::text, 10, '0'), '{}'
) ON CONFLICT (workspace_id, visitor_id, bucket) DO UPDATE SET
    version = CASE WHEN v.version < excluded.version THEN excluded.version ELSE lost_race(v.version) END,
    customer_id = excluded.customer_id, since = excluded.since,
    last_customer_id = excluded.last_customer_id, anonymous = excluded.anonymous;
COMMIT;
