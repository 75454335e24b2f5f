-- Write the present state of visitors, each the fold of its facts up to its version. One that was held must be there
-- still, or the race is lost: it may have been erased. OFFSET 0 keeps the planner from walking a whole index by its
-- buckets. Rows: none. Locks: those rows, in key order; their facts are held already.
INSERT INTO visitor AS v (
    bucket, workspace_id, visitor_id, version, customer_id, since, last_customer_id, last_since, anonymous
)
SELECT r.bucket, r.workspace_id, r.visitor_id,
       CASE WHEN r.previous_version = 0 OR EXISTS (
           SELECT 1 FROM visitor AS h
           WHERE h.workspace_id = r.workspace_id AND h.visitor_id = r.visitor_id AND h.bucket = r.bucket
             AND h.bucket = ANY (%(buckets)s::smallint[]) AND h.version = r.previous_version
           OFFSET 0
       ) THEN r.version ELSE lost_race(r.version) END,
       r.customer_id, r.since, r.last_customer_id, r.last_since, r.anonymous
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, visitor_id text, version integer, customer_id text, since timestamptz,
    last_customer_id text, last_since timestamptz, anonymous jsonb, previous_version integer
)
ORDER BY r.workspace_id, r.visitor_id COLLATE "C"
ON CONFLICT (workspace_id, visitor_id, bucket) DO UPDATE SET
    version = CASE WHEN v.version < excluded.version THEN excluded.version ELSE lost_race(v.version) END,
    customer_id = excluded.customer_id, since = excluded.since,
    last_customer_id = excluded.last_customer_id, last_since = excluded.last_since, anonymous = excluded.anonymous
