-- Forget transactions that events told which are removed. Rows: one per transaction. Locks: those rows.
DELETE FROM purchase AS p
USING json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, transaction_id text, record_id uuid
)
WHERE p.workspace_id = r.workspace_id AND p.transaction_id = r.transaction_id AND p.record_id = r.record_id
  AND p.bucket = r.bucket AND p.bucket = ANY (%(buckets)s::smallint[])
RETURNING 1
