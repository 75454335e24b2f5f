-- Make a secret key; only its hash is kept. Rows: none. Locks: the new key.
INSERT INTO secret_key (key_id, workspace_id, name, scopes, secret_hash, hint, created_at)
VALUES (%(key_id)s, %(workspace_id)s, %(name)s, %(scopes)s, %(secret_hash)s, %(hint)s, %(now)s::timestamptz)
