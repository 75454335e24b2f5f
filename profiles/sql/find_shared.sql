-- Values of one search key that more than one customer holds, in order, joined ones counted once.
-- Rows: up to `rows_max`, each with up to `customers_max` ids. Locks: none.
SELECT k.value, (array_agg(k.customer_id ORDER BY k.customer_id))[1:%(customers_max)s], count(*)
FROM (
    SELECT c.email_key AS value, c.customer_id
    FROM customer AS c
    WHERE c.workspace_id = %(workspace_id)s AND c.bucket = ANY (%(buckets)s::smallint[]) AND %(by_email)s::boolean
      AND c.email_key > %(after)s::text COLLATE "C" AND c.joined_into IS NULL AND NOT c.is_gone
    UNION
    SELECT c.alternate_email_key AS value, c.customer_id
    FROM customer AS c
    WHERE c.workspace_id = %(workspace_id)s AND c.bucket = ANY (%(buckets)s::smallint[]) AND %(by_email)s::boolean
      AND c.alternate_email_key > %(after)s::text COLLATE "C" AND c.joined_into IS NULL AND NOT c.is_gone
    UNION
    SELECT c.mobile_key AS value, c.customer_id
    FROM customer AS c
    WHERE c.workspace_id = %(workspace_id)s AND c.bucket = ANY (%(buckets)s::smallint[]) AND NOT %(by_email)s::boolean
      AND c.mobile_key > %(after)s::text COLLATE "C" AND c.joined_into IS NULL AND NOT c.is_gone
    UNION
    SELECT c.alternate_mobile_key AS value, c.customer_id
    FROM customer AS c
    WHERE c.workspace_id = %(workspace_id)s AND c.bucket = ANY (%(buckets)s::smallint[]) AND NOT %(by_email)s::boolean
      AND c.alternate_mobile_key > %(after)s::text COLLATE "C" AND c.joined_into IS NULL AND NOT c.is_gone
) AS k
GROUP BY k.value
HAVING count(*) > 1
ORDER BY k.value
LIMIT %(rows_max)s
