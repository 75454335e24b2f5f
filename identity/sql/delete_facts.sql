-- Remove the log of a visitor. Rows: the kind of each fact removed. Locks: those rows.
DELETE FROM visitor_fact
WHERE workspace_id = %(workspace_id)s AND visitor_id = %(visitor_id)s::text COLLATE "C" AND bucket = %(bucket)s
RETURNING kind
