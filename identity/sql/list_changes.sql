-- What changed in a workspace behind a position, in the order of the feed: by transaction, then by id. Only from
-- transactions before `before`, all of which are over: none can come in between any more. Of fields only the names.
-- Rows: up to `rows_max`. Locks: none.
SELECT c.xid, c.change_id::text, c.customer_id, c.customer_hash, c.version, c.visitor_id,
       (extract(epoch FROM c.occurred_at) * 1000)::bigint, (extract(epoch FROM c.received_at) * 1000)::bigint,
       event, c.source, c.created_customer, c.act, c.link,
       ARRAY(
           SELECT d ->> 0 FROM jsonb_array_elements(c.decisions) AS d WHERE d ->> 1 IN ('set', 'overwrote', 'unset')
       )
FROM (
    (
        SELECT coalesce(m.xid, 0) AS xid, m.merge_id AS change_id, m.customer_id, NULL AS customer_hash, m.version,
               m.visitor_id, m.occurred_at, m.received_at, m.event, m.source, m.created_customer, m.act, m.link,
               m.decisions
        FROM merge AS m
        WHERE m.workspace_id = %(workspace_id)s
          AND m.bucket = ANY (%(buckets)s::smallint[])
          AND (coalesce(m.xid, 0), m.merge_id) > (%(xid)s::bigint, %(change_id)s::uuid)
          AND coalesce(m.xid, 0) < %(before)s::bigint
        ORDER BY coalesce(m.xid, 0), m.merge_id
        LIMIT %(rows_max)s
    )
    UNION ALL
    (
        SELECT coalesce(e.xid, 0), e.erasure_id, NULL, e.customer_hash, e.version, NULL, e.erased_at, e.erased_at,
               'erase', 'admin', false, 'erase', NULL, '[]'::jsonb
        FROM erasure AS e
        WHERE e.workspace_id = %(workspace_id)s
          AND e.bucket = ANY (%(buckets)s::smallint[])
          AND (coalesce(e.xid, 0), e.erasure_id) > (%(xid)s::bigint, %(change_id)s::uuid)
          AND coalesce(e.xid, 0) < %(before)s::bigint
        ORDER BY coalesce(e.xid, 0), e.erasure_id
        LIMIT %(rows_max)s
    )
) AS c
ORDER BY c.xid, c.change_id
LIMIT %(rows_max)s
