-- All profiles of a workspace, for the replay of its ledger. All buckets on purpose: a row in a wrong one must show.
-- Rows: one per customer, in key order, through a cursor. Locks: none.
SELECT bucket, customer_id, version, (extract(epoch FROM created_at) * 1000)::bigint,
       (extract(epoch FROM updated_at) * 1000)::bigint, fields::text, digest, email_key, alternate_email_key, mobile_key,
       alternate_mobile_key, is_gone,
       json_build_array(coalesce(locks, '{}'), joined_into, coalesce(to_json(absorbs), '[]'))::text
FROM customer
WHERE workspace_id = %(workspace_id)s AND bucket BETWEEN 0 AND 4095
ORDER BY workspace_id, customer_id, bucket
