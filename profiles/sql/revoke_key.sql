-- Put a key out of force for good. Rows: its id, if the workspace has it. Locks: its row.
UPDATE secret_key SET revoked_at = coalesce(revoked_at, %(now)s::timestamptz)
WHERE workspace_id = %(workspace_id)s AND key_id = %(key_id)s::uuid
RETURNING key_id::text
