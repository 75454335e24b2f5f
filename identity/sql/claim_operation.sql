-- Take a long work that was broken off away from whoever may still be at it. Rows: its progress; none if it is done.
-- Locks: the row.
UPDATE operation
SET status = 'running', progress = jsonb_set(progress, '{claim}', to_jsonb(%(claim)s::text)), updated_at = %(at)s
WHERE workspace_id = %(workspace_id)s AND operation_id = %(operation_id)s AND status <> 'done'
RETURNING progress::text
