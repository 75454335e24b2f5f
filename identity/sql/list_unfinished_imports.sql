-- Imports that were broken off, or go on somewhere. Rows: the newest ones. Locks: none.
SELECT operation_id::text, status, actor, note, parameters::text, progress::text
FROM operation
WHERE workspace_id = %(workspace_id)s AND kind = 'import' AND status <> 'done'
ORDER BY created_at DESC
LIMIT %(rows_max)s
