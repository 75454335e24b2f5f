-- How many channels of a workspace are in force. Rows: one. Locks: none.
SELECT count(*) FROM channel WHERE workspace_id = %(workspace_id)s AND revoked_at IS NULL
