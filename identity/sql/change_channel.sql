-- Change a channel; what is null stays. Rows: its id, if the workspace has it and it is in force. Locks: its row.
UPDATE channel SET
    name = coalesce(%(name)s::text, name),
    website_tracking = coalesce(%(website_tracking)s::boolean, website_tracking),
    origins = coalesce(%(origins)s::text[], origins),
    on_sign_out = coalesce(%(on_sign_out)s::text, on_sign_out),
    signed_identity = coalesce(%(signed_identity)s::text, signed_identity),
    unsigned_writes = coalesce(%(unsigned_writes)s::text, unsigned_writes),
    identity_keys = coalesce(%(identity_keys)s::jsonb, identity_keys),
    revoked_at = coalesce(revoked_at, %(revoked_at)s::timestamptz)
WHERE workspace_id = %(workspace_id)s AND channel_id = %(channel_id)s::uuid AND revoked_at IS NULL
RETURNING channel_id::text
