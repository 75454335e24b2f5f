-- Tell how far one lane of an import is, with what it wrote. If another process took the import over, the race is lost.
-- Rows: none.
-- Locks: the row, until the commit that follows.
UPDATE operation
SET progress = CASE WHEN status = 'running' AND progress ->> 'claim' = %(claim)s
                    THEN jsonb_set(progress, ARRAY['lanes', %(lane)s::text], %(state)s::jsonb)
                    ELSE lost_race(progress) END,
    updated_at = %(at)s::timestamptz
WHERE operation_id = %(operation_id)s::uuid
