-- Customers who hold one of these numbers. Rows: number, customer id, each pair once. Locks: none.
SELECT mobile_key, customer_id FROM customer
WHERE workspace_id = %(workspace_id)s AND mobile_key = ANY (%(keys)s::text[]) AND bucket = ANY (%(buckets)s::smallint[])
UNION
SELECT alternate_mobile_key, customer_id FROM customer
WHERE workspace_id = %(workspace_id)s AND alternate_mobile_key = ANY (%(keys)s::text[])
  AND bucket = ANY (%(buckets)s::smallint[])
ORDER BY 1, 2
LIMIT 100000
