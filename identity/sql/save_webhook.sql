-- How far a webhook has come, told by the worker that has it. Rows: its id, if the worker has it still and no admin
-- changed it since. Locks: its row.
UPDATE webhook SET
    state = %(state)s, xid = %(xid)s::bigint, change_id = %(change_id)s::uuid, attempts = %(attempts)s,
    failing_since = %(failing_since)s::timestamptz, retry_at = %(retry_at)s::timestamptz, answer = %(answer)s,
    fault = %(fault)s
WHERE webhook_id = %(webhook_id)s::uuid AND leased_by = %(worker)s::uuid AND turn = %(turn)s
RETURNING webhook_id::text
