-- Write profiles, each the fold of its ledger up to its version. One that was held must be there still, in the version
-- that was read; one that was not held, which comes with the hash of its id, must not be erased, or go on where it was.
-- Anything else is a lost race.
-- OFFSET 0 keeps the planner from walking a whole index by its buckets, which it takes for few where tables are young.
-- Rows: none. Locks: those rows, in key order; the ledger's rows are held already.
INSERT INTO customer AS c (
    bucket, workspace_id, customer_id, version, created_at, updated_at, fields, digest, email_key,
    alternate_email_key, mobile_key, alternate_mobile_key, is_gone, locks, joined_into, absorbs
)
SELECT r.bucket, r.workspace_id, r.customer_id,
       CASE WHEN (
           r.customer_hash IS NOT NULL AND r.previous_version = coalesce((
               SELECT CASE WHEN e.lifted_at IS NULL THEN -1 ELSE e.version END
               FROM erasure AS e
               WHERE e.workspace_id = r.workspace_id AND e.customer_hash = r.customer_hash AND e.bucket = r.bucket
                 AND e.bucket = ANY (%(buckets)s::smallint[])
           ), 0)
       ) OR EXISTS (
           SELECT 1 FROM customer AS h
           WHERE h.workspace_id = r.workspace_id AND h.customer_id = r.customer_id AND h.bucket = r.bucket
             AND h.bucket = ANY (%(buckets)s::smallint[]) AND h.version = r.previous_version
           OFFSET 0
       ) THEN r.version ELSE lost_race(r.version) END,
       r.created_at, r.updated_at, r.fields, r.digest, r.email_key, r.alternate_email_key, r.mobile_key,
       r.alternate_mobile_key, r.is_gone, r.locks, r.joined_into, r.absorbs
FROM json_to_recordset(%(rows)s::json) AS r (
    bucket smallint, workspace_id integer, customer_id text, version integer, created_at timestamptz,
    updated_at timestamptz, fields jsonb, digest text, email_key text, alternate_email_key text, mobile_key text,
    alternate_mobile_key text, is_gone boolean, locks jsonb, joined_into text, absorbs text[], customer_hash text,
    previous_version integer
)
ORDER BY r.workspace_id, r.customer_id COLLATE "C"
ON CONFLICT (workspace_id, customer_id, bucket) DO UPDATE SET
    version = CASE WHEN c.version < excluded.version THEN excluded.version ELSE lost_race(c.version) END,
    updated_at = excluded.updated_at, fields = excluded.fields, digest = excluded.digest,
    email_key = excluded.email_key, alternate_email_key = excluded.alternate_email_key,
    mobile_key = excluded.mobile_key, alternate_mobile_key = excluded.alternate_mobile_key,
    is_gone = excluded.is_gone, locks = excluded.locks, joined_into = excluded.joined_into, absorbs = excluded.absorbs
