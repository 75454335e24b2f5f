-- Take over the oldest work that nobody does. Rows: none or one. Locks: its row.
UPDATE operation SET updated_at = %(now)s::timestamptz
WHERE operation_id = (
    SELECT o.operation_id FROM operation AS o
    WHERE o.kind = %(kind)s AND o.status = 'running' AND o.updated_at < %(stale)s::timestamptz
    ORDER BY o.created_at
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING operation_id::text, workspace_id, kind, status, actor, note, parameters::text, progress::text,
       (extract(epoch FROM created_at) * 1000)::bigint, (extract(epoch FROM updated_at) * 1000)::bigint,
       (extract(epoch FROM finished_at) * 1000)::bigint
