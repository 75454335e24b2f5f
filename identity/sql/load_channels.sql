-- All channels that are in force. Rows: one per channel. Locks: none.
SELECT channel_id::text, workspace_id, name, write_key, website_tracking, origins, on_sign_out,
       signed_identity, unsigned_writes, identity_keys::text
FROM channel
WHERE revoked_at IS NULL
