-- How long each workspace keeps its footprint, and since when it is so. Rows: one per workspace. Locks: none.
SELECT workspace_id, footprint_days, (extract(epoch FROM footprint_changed_at) * 1000)::bigint FROM workspace
