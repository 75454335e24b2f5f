-- Remove the refused events that name a customer, or a visitor; null names none. Rows: one per row removed.
-- Locks: those rows.
DELETE FROM refusal
WHERE workspace_id = %(workspace_id)s AND bucket = ANY (%(buckets)s::smallint[])
  AND refusal_id = ANY (ARRAY(
      SELECT c.refusal_id FROM refusal AS c
      WHERE c.workspace_id = %(workspace_id)s AND c.bucket = ANY (%(buckets)s::smallint[])
        AND c.customer_id = %(customer_id)s::text
      UNION ALL
      SELECT v.refusal_id FROM refusal AS v
      WHERE v.workspace_id = %(workspace_id)s AND v.bucket = ANY (%(buckets)s::smallint[])
        AND v.visitor_id = %(visitor_id)s::text
      LIMIT %(rows_max)s
  ))
RETURNING 1
