-- Make a channel. Rows: none. Locks: the new key.
INSERT INTO channel (channel_id, workspace_id, name, write_key, website_tracking, origins, on_sign_out, created_at)
VALUES (%(channel_id)s, %(workspace_id)s, %(name)s, %(write_key)s, %(website_tracking)s, %(origins)s, %(on_sign_out)s,
        %(now)s::timestamptz)
