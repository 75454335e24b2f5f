-- Tell how far one lane of an import is, with what it wrote. Rows: one; none if another process took the import over.
-- Locks: the row, until the commit that follows.
UPDATE operation
SET progress = jsonb_set(progress, ARRAY['lanes', %(lane)s::text], %(state)s::jsonb), updated_at = %(at)s::timestamptz
WHERE operation_id = %(operation_id)s::uuid AND status = 'running' AND progress ->> 'claim' = %(claim)s
RETURNING 1
