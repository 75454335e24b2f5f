-- Who may go on with a long work, and how far it is. Rows: one. Locks: none.
SELECT status, progress::text FROM operation WHERE operation_id = %(operation_id)s
