-- The newest events of several sources, each a subject's time from `since` up to a place in its order; no types: all.
-- Rows: one per source, with its number and up to its quota of events as JSON, the newest first. Locks: none.
SELECT k.number, (
    SELECT json_agg(newest)::text
    FROM (
        SELECT e.record_id, e.type, e.label, (extract(epoch FROM e.occurred_at) * 1000)::bigint AS occurred_at,
               (extract(epoch FROM e.received_at) * 1000)::bigint AS received_at, e.event_id, e.channel_id, e.order_id,
               e.revenue, e.currency, e.props, e.remarks
        FROM event AS e
        WHERE e.workspace_id = k.workspace_id AND e.is_direct = k.is_direct AND e.subject = k.subject
          AND e.bucket = ANY (%(buckets)s::smallint[])
          AND (e.occurred_at, e.record_id) < (k.before_at, k.before_id)
          AND e.occurred_at >= k.since
          AND e.kept_until >= %(kept_from)s::date AND e.kept_until <= %(kept_to)s::date
          AND e.received_at >= %(oldest)s::timestamptz
          AND (cardinality(%(types)s::text[]) = 0 OR e.type = ANY (%(types)s::text[]))
        ORDER BY e.occurred_at DESC, e.record_id DESC
        LIMIT k.quota
    ) AS newest
)
FROM json_to_recordset(%(sources)s::json) AS k (
    number integer, bucket smallint, workspace_id integer, is_direct boolean, subject text, since timestamptz,
    before_at timestamptz, before_id uuid, quota integer
)
