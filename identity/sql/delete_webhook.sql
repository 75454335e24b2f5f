-- Forget a webhook. Rows: its id, if the workspace has it. Locks: its row.
DELETE FROM webhook WHERE workspace_id = %(workspace_id)s AND webhook_id = %(webhook_id)s::uuid
RETURNING webhook_id::text
