-- Forget of an erased customer who it is not. Rows: one per pair forgotten. Locks: those rows.
DELETE FROM not_same
WHERE workspace_id = %(workspace_id)s AND bucket = ANY (%(buckets)s::smallint[])
  AND (customer_id = %(customer_id)s::text COLLATE "C" OR other_id = %(customer_id)s::text COLLATE "C")
RETURNING 1
