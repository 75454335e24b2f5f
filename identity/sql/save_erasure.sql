-- Tell how far an erasure is. Rows: none. Locks: its row.
UPDATE erasure SET receipt = %(receipt)s::jsonb, pending = CASE WHEN %(is_done)s::boolean THEN NULL ELSE pending END
WHERE workspace_id = %(workspace_id)s AND customer_hash = %(customer_hash)s::text COLLATE "C" AND bucket = %(bucket)s
