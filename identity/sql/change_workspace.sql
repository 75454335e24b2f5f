-- Change a workspace; what is null stays, but `default_blocked` takes its own list of blocked ids away.
-- Rows: its number, if there is one. Locks: its row.
UPDATE workspace SET
    footprint_changed_at = CASE
        WHEN footprint_days <> %(footprint_days)s::smallint THEN %(now)s::timestamptz ELSE footprint_changed_at
    END,
    footprint_days = coalesce(%(footprint_days)s::smallint, footprint_days),
    blocked_customer_ids = CASE
        WHEN %(default_blocked)s::boolean THEN NULL ELSE coalesce(%(blocked_customer_ids)s::text[], blocked_customer_ids)
    END
WHERE workspace_id = %(workspace_id)s
RETURNING workspace_id
