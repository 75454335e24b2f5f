-- Customers who hold one of these numbers. Rows: number, customer id, each pair once, up to `ids_max` for each number, the
-- first. Locks: none.
SELECT k.value, c.customer_id
FROM unnest(%(keys)s::text[]) AS k (value)
CROSS JOIN LATERAL (
    SELECT h.customer_id FROM customer AS h
    WHERE h.workspace_id = %(workspace_id)s AND h.mobile_key = k.value AND NOT h.is_gone AND h.bucket = ANY (%(buckets)s::smallint[])
    UNION
    SELECT h.customer_id FROM customer AS h
    WHERE h.workspace_id = %(workspace_id)s AND h.alternate_mobile_key = k.value AND NOT h.is_gone
      AND h.bucket = ANY (%(buckets)s::smallint[])
    ORDER BY customer_id
    LIMIT %(ids_max)s
) AS c
ORDER BY 1, 2
