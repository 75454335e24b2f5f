-- What became of the changes that a webhook wanted, newest first; filters that are null do not filter.
-- Rows: up to `rows_max`. Locks: none.
SELECT change_id::text, is_delivered, attempts, answer, fault, milliseconds,
       (extract(epoch FROM tried_at) * 1000)::bigint
FROM webhook_delivery
WHERE workspace_id = %(workspace_id)s AND webhook_id = %(webhook_id)s::uuid AND bucket = %(bucket)s
  AND change_id < %(before)s::uuid AND change_id >= %(not_before)s::uuid
  AND (%(is_delivered)s::boolean IS NULL OR is_delivered = %(is_delivered)s::boolean)
ORDER BY change_id DESC
LIMIT %(rows_max)s
