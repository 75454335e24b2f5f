-- Clear what was said of visitors: that a fact was there, and when, stays. Rows: one per fact. Locks: those rows.
UPDATE visitor_fact AS f SET
    kind = r.kind, applied = r.applied, customer_id = NULL, event_id = NULL, decisions = '[]', actor = NULL, note = NULL
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, visitor_id text, version integer, kind text, applied boolean
)
WHERE f.workspace_id = r.workspace_id AND f.visitor_id = r.visitor_id AND f.version = r.version AND f.bucket = r.bucket
  AND f.bucket = ANY (%(buckets)s::smallint[])
RETURNING 1
