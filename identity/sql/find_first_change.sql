-- The lowest number of a transaction among the first changes that arrived at a time or later: ids begin with their
-- arrival, and none takes so long from there to its transaction as `rows_max` others. Rows: one. Locks: none.
SELECT min(h.xid)
FROM (
    SELECT coalesce(m.xid, 0) AS xid
    FROM merge AS m
    WHERE m.workspace_id = %(workspace_id)s AND m.bucket = ANY (%(buckets)s::smallint[])
      AND m.merge_id >= %(not_before)s::uuid
    ORDER BY m.merge_id
    LIMIT %(rows_max)s
) AS h
