-- Forget refused events past their retention; their counts stay. Rows: none. Locks: the deleted rows.
DELETE FROM refusal
WHERE workspace_id = %(workspace_id)s AND bucket = ANY (%(buckets)s::smallint[]) AND refusal_id < %(before)s::uuid
