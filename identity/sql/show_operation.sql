-- One long work of a workspace. Rows: none or one. Locks: none.
SELECT operation_id::text, workspace_id, kind, status, actor, note, parameters::text, progress::text,
       (extract(epoch FROM created_at) * 1000)::bigint, (extract(epoch FROM updated_at) * 1000)::bigint,
       (extract(epoch FROM finished_at) * 1000)::bigint
FROM operation
WHERE workspace_id = %(workspace_id)s AND operation_id = %(operation_id)s::uuid
