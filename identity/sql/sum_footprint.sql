-- What the events of several sources, each a subject's time from `since` up to `until`, come to. Of each order the
-- amount that was told last. A session is activity of one visitor without a longer pause than `pause_max`.
-- Rows: one, as JSON. Locks: none.
WITH told AS MATERIALIZED (
    SELECT t.is_direct, t.subject, t.occurred_at, t.record_id, t.type, t.order_id, t.revenue, t.currency
    FROM json_to_recordset(%(sources)s::json) AS k (
        workspace_id integer, is_direct boolean, subject text, since timestamptz, until timestamptz
    )
    CROSS JOIN LATERAL (
        SELECT e.is_direct, e.subject, e.occurred_at, e.record_id, e.type, e.order_id, e.revenue, e.currency
        FROM event AS e
        WHERE e.workspace_id = k.workspace_id AND e.is_direct = k.is_direct AND e.subject = k.subject
          AND e.bucket = ANY (%(buckets)s::smallint[])
          AND e.occurred_at >= k.since AND e.occurred_at < k.until
          AND e.kept_until >= %(kept_from)s::date AND e.kept_until <= %(kept_to)s::date
          AND e.received_at >= %(oldest)s::timestamptz
        OFFSET 0
    ) AS t
)
SELECT json_build_object(
    'types', (SELECT json_object_agg(t.type, t.events) FROM (SELECT type, count(*) AS events FROM told GROUP BY type) AS t),
    'first_seen', (SELECT (extract(epoch FROM min(occurred_at)) * 1000)::bigint FROM told),
    'last_seen', (SELECT (extract(epoch FROM max(occurred_at)) * 1000)::bigint FROM told),
    'visitors', (SELECT count(DISTINCT subject) FROM told WHERE NOT is_direct),
    'sessions', (
        SELECT count(*)
        FROM (
            SELECT occurred_at - lag(occurred_at) OVER (PARTITION BY subject ORDER BY occurred_at) AS pause
            FROM told WHERE NOT is_direct
        ) AS p
        WHERE p.pause IS NULL OR p.pause > %(pause_max)s::interval
    ),
    'orders', (
        SELECT json_agg(o)
        FROM (
            SELECT DISTINCT ON (order_id) order_id, revenue, currency,
                   (extract(epoch FROM occurred_at) * 1000)::bigint AS occurred_at, record_id
            FROM told WHERE order_id IS NOT NULL
            ORDER BY order_id, revenue IS NULL, occurred_at DESC, record_id DESC
        ) AS o
    )
)::text
