-- One change by its id, whose bucket is part of the id. Rows: none or one, as list_changes has them. Locks: none.
SELECT coalesce(m.xid, 0), m.merge_id::text, m.customer_id, NULL, m.version, m.visitor_id,
       (extract(epoch FROM m.occurred_at) * 1000)::bigint, (extract(epoch FROM m.received_at) * 1000)::bigint,
       event, m.source, m.created_customer, m.act, m.link,
       ARRAY(
           SELECT d ->> 0 FROM jsonb_array_elements(m.decisions) AS d WHERE d ->> 1 IN ('set', 'overwrote', 'unset')
       )
FROM merge AS m
WHERE m.workspace_id = %(workspace_id)s AND m.merge_id = %(change_id)s::uuid AND m.bucket = %(bucket)s
