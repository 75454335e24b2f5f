-- Forget what became of the oldest changes that arrived before a time. Rows: one each, up to `rows_max`; fewer: that was
-- all. Locks: those rows.
DELETE FROM webhook_delivery AS d
WHERE d.workspace_id = %(workspace_id)s AND d.webhook_id = %(webhook_id)s::uuid AND d.bucket = %(bucket)s
  AND d.change_id IN (
      SELECT o.change_id FROM webhook_delivery AS o
      WHERE o.workspace_id = %(workspace_id)s AND o.webhook_id = %(webhook_id)s::uuid AND o.bucket = %(bucket)s
        AND o.change_id < %(before)s::uuid
      ORDER BY o.change_id
      LIMIT %(rows_max)s
  )
RETURNING 1
