-- The channels of a workspace, revoked ones included, newest first, from behind `after` on; or the one named.
-- Rows: up to `rows_max`. Locks: none.
SELECT channel_id::text, name, write_key, website_tracking, origins, on_sign_out,
       signed_identity, unsigned_writes, identity_keys::text,
       (extract(epoch FROM created_at) * 1000)::bigint, (extract(epoch FROM revoked_at) * 1000)::bigint
FROM channel
WHERE workspace_id = %(workspace_id)s
  AND (%(channel_id)s::uuid IS NULL OR channel_id = %(channel_id)s::uuid)
  AND (
      %(after)s::uuid IS NULL
      OR (created_at, channel_id) < (
          SELECT a.created_at, a.channel_id FROM channel AS a
          WHERE a.workspace_id = %(workspace_id)s AND a.channel_id = %(after)s::uuid
      )
  )
ORDER BY created_at DESC, channel_id DESC
LIMIT %(rows_max)s
