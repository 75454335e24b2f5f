-- Write a long work down. Rows: none. Locks: the new row.
INSERT INTO operation (
    operation_id, workspace_id, kind, status, actor, note, parameters, progress, created_at, updated_at
) VALUES (
    %(operation_id)s::uuid, %(workspace_id)s, %(kind)s, %(status)s, %(actor)s, %(note)s, %(parameters)s::jsonb,
    %(progress)s::jsonb, %(created_at)s::timestamptz, %(updated_at)s::timestamptz
)
