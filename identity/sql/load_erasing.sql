-- The key of the hashes of erased customers, and in which workspaces anybody was erased. Rows: one per workspace, or one.
-- Locks: none.
SELECT s.erasure_key, w.workspace_id
FROM store AS s
LEFT JOIN workspace AS w ON w.has_erasures
