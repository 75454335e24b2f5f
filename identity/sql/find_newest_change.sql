-- The number of the newest transaction that the feed of a workspace has anything of; 0 if none. Rows: one. Locks: none.
SELECT greatest(
    0,
    (
        SELECT coalesce(m.xid, 0) FROM merge AS m
        WHERE m.workspace_id = %(workspace_id)s AND m.bucket = ANY (%(buckets)s::smallint[])
        ORDER BY coalesce(m.xid, 0) DESC, m.merge_id DESC LIMIT 1
    ),
    (
        SELECT coalesce(e.xid, 0) FROM erasure AS e
        WHERE e.workspace_id = %(workspace_id)s AND e.bucket = ANY (%(buckets)s::smallint[])
        ORDER BY coalesce(e.xid, 0) DESC, e.erasure_id DESC LIMIT 1
    )
)
