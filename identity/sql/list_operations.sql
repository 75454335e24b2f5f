-- The long works of a workspace, the newest first. Rows: up to `rows_max`. Locks: none.
SELECT operation_id::text, workspace_id, kind, status, actor, note, parameters::text, progress::text,
       (extract(epoch FROM created_at) * 1000)::bigint, (extract(epoch FROM updated_at) * 1000)::bigint,
       (extract(epoch FROM finished_at) * 1000)::bigint
FROM operation
WHERE workspace_id = %(workspace_id)s
ORDER BY created_at DESC, operation_id
LIMIT %(rows_max)s
