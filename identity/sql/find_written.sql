-- Whether a batch whose commit was cut off did commit: any one of its rows proves all of them.
-- Rows: one if so. Locks: none.
SELECT 1 FROM merge
WHERE merge_id = ANY (%(merge_ids)s::uuid[]) AND workspace_id = ANY (%(workspace_ids)s::integer[])
  AND bucket = ANY (%(buckets)s::smallint[])
UNION ALL
SELECT 1 FROM refusal
WHERE refusal_id = ANY (%(refusal_ids)s::uuid[]) AND workspace_id = ANY (%(workspace_ids)s::integer[])
  AND bucket = ANY (%(buckets)s::smallint[])
UNION ALL
SELECT 1 FROM visitor_fact
WHERE visitor_id = ANY (%(visitor_ids)s::text[] COLLATE "C") AND version = ANY (%(versions)s::integer[])
  AND fact_id = ANY (%(fact_ids)s::uuid[]) AND workspace_id = ANY (%(workspace_ids)s::integer[])
  AND bucket = ANY (%(buckets)s::smallint[])
UNION ALL
SELECT 1 FROM event
WHERE record_id = ANY (%(record_ids)s::uuid[]) AND subject = ANY (%(subjects)s::text[] COLLATE "C")
  AND occurred_at = ANY (%(times)s::timestamptz[]) AND is_direct IN (false, true)
  AND workspace_id = ANY (%(workspace_ids)s::integer[]) AND bucket = ANY (%(buckets)s::smallint[])
LIMIT 1
