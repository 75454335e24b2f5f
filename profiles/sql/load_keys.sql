-- All secret keys that are in force, with their workspaces. Rows: one per key. Locks: none.
SELECT k.key_id::text, k.workspace_id, k.name, k.scopes, k.secret_hash
FROM secret_key AS k
WHERE k.revoked_at IS NULL
