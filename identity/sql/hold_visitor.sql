-- Keep a visitor in its version until the end of the transaction. Rows: its version, if it is held. Locks: its row.
UPDATE visitor SET version = version
WHERE workspace_id = %(workspace_id)s AND visitor_id = %(subject)s::text COLLATE "C" AND bucket = %(bucket)s
RETURNING version
