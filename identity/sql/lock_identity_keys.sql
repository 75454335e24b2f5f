-- The identity keys of a channel in force, secrets too, before some of them are replaced.
-- Rows: one, if the workspace has it. Locks: its row.
SELECT identity_keys::text FROM channel
WHERE workspace_id = %(workspace_id)s AND channel_id = %(channel_id)s::uuid AND revoked_at IS NULL
FOR UPDATE
