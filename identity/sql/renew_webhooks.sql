-- Keep the webhooks that a worker has, or with a time that is past, give them back. Rows: the id and turn of each.
-- Locks: their rows.
UPDATE webhook SET leased_until = %(until)s::timestamptz
WHERE leased_by = %(worker)s::uuid AND webhook_id = ANY (%(webhook_ids)s::uuid[])
RETURNING webhook_id::text, turn
