-- The secret keys of a workspace, revoked ones included, newest first, from behind `after` on; or the one named.
-- Rows: up to `rows_max`. Locks: none.
SELECT key_id::text, name, scopes, hint, (extract(epoch FROM created_at) * 1000)::bigint,
       (extract(epoch FROM revoked_at) * 1000)::bigint
FROM secret_key
WHERE workspace_id = %(workspace_id)s
  AND (%(key_id)s::uuid IS NULL OR key_id = %(key_id)s::uuid)
  AND (
      %(after)s::uuid IS NULL
      OR (created_at, key_id) < (
          SELECT a.created_at, a.key_id FROM secret_key AS a
          WHERE a.workspace_id = %(workspace_id)s AND a.key_id = %(after)s::uuid
      )
  )
ORDER BY created_at DESC, key_id DESC
LIMIT %(rows_max)s
