-- All workspaces. Rows: one each. Locks: none.
SELECT workspace_id, slug, spread, blocked_customer_ids, footprint_days FROM workspace ORDER BY workspace_id
