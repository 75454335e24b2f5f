-- Tell how far a long work is; one that is over stays so. Rows: none. Locks: its row.
UPDATE operation SET status = %(status)s, progress = %(progress)s::jsonb, updated_at = %(updated_at)s::timestamptz,
    finished_at = %(finished_at)s::timestamptz
WHERE operation_id = %(operation_id)s::uuid AND status = 'running'
