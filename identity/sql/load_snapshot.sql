-- The oldest transaction that is not over, and the first that has not begun. No table is named, so that a cluster
-- answers from the node that gives the numbers. Rows: one. Locks: none.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint
