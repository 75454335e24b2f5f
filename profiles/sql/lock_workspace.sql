-- Let the changes of a workspace's channels and keys take turns, so that what one counts the next cannot change.
-- Rows: its number. Locks: its row, until the end of the transaction; references to it are not held up.
SELECT workspace_id FROM workspace WHERE workspace_id = %(workspace_id)s FOR NO KEY UPDATE
