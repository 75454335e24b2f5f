-- The secret keys of a workspace, revoked ones included, newest first. Rows: up to `rows_max`. Locks: none.
SELECT key_id::text, name, scopes, hint, (extract(epoch FROM created_at) * 1000)::bigint,
       (extract(epoch FROM revoked_at) * 1000)::bigint
FROM secret_key
WHERE workspace_id = %(workspace_id)s
ORDER BY created_at DESC, key_id
LIMIT %(rows_max)s
