-- The workspaces of the store, or the one with this number. Rows: one each, by slug. Locks: none.
SELECT slug, spread, footprint_days, blocked_customer_ids, (extract(epoch FROM created_at) * 1000)::bigint
FROM workspace
WHERE %(workspace_id)s::integer IS NULL OR workspace_id = %(workspace_id)s::integer
ORDER BY slug
