-- Remove a visitor, if nothing was said of it since its log was cleared. Rows: one if so. Locks: its row.
DELETE FROM visitor
WHERE workspace_id = %(workspace_id)s AND visitor_id = %(visitor_id)s::text COLLATE "C" AND bucket = %(bucket)s
  AND version = %(version)s
RETURNING 1
