-- Customers who hold one of these e-mails. Rows: e-mail, customer id, each pair once. Locks: none.
SELECT email_key, customer_id FROM customer
WHERE workspace_id = %(workspace_id)s AND email_key = ANY (%(keys)s::text[]) AND bucket = ANY (%(buckets)s::smallint[])
UNION
SELECT alternate_email_key, customer_id FROM customer
WHERE workspace_id = %(workspace_id)s AND alternate_email_key = ANY (%(keys)s::text[])
  AND bucket = ANY (%(buckets)s::smallint[])
ORDER BY 1, 2
LIMIT 100000
