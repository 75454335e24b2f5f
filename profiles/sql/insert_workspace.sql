-- Make a workspace with the next free number. Rows: the number. Locks: the new key.
INSERT INTO workspace (workspace_id, slug, spread, created_at)
SELECT coalesce(max(workspace_id), 0) + 1, %(slug)s, %(spread)s, %(now)s::timestamptz FROM workspace
RETURNING workspace_id
