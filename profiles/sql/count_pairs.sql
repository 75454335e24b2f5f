-- How many pairs of customer and visitor a workspace has, in whatever bucket they lie. Rows: one. Locks: none.
SELECT count(*) FROM customer_visitor WHERE workspace_id = %(workspace_id)s AND bucket BETWEEN 0 AND 4095
