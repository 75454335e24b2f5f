-- The complete counts of the refused, by reason. Rows: one per reason. Locks: none.
SELECT reason, sum(refused)::bigint
FROM refusal_count
WHERE workspace_id = %(workspace_id)s
  AND bucket = ANY (%(buckets)s::smallint[])
  AND (%(channel_id)s::uuid IS NULL OR channel_id = %(channel_id)s::uuid)
GROUP BY reason
ORDER BY reason
