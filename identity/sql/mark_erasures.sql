-- Remember that somebody was erased in a workspace. Rows: one if that is new. Locks: its row.
UPDATE workspace SET has_erasures = true WHERE workspace_id = %(workspace_id)s AND NOT has_erasures
RETURNING workspace_id
