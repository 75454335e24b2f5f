-- Write profiles of customers whom nobody knew, thousands of rows at a time; their ledger's rows are held already.
-- Rows: none. Locks: the new keys, in the order of the rows, which must be that of the key.
COPY customer (
    bucket, workspace_id, customer_id, version, created_at, updated_at, fields, digest, email_key,
    alternate_email_key, mobile_key, alternate_mobile_key, is_gone
) FROM STDIN
