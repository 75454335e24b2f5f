-- The custom fields that anybody in a workspace has, for the header of an export. All buckets on purpose.
-- Rows: one per name. Locks: none.
SELECT DISTINCT k.name
FROM customer AS c
CROSS JOIN LATERAL jsonb_object_keys(c.fields) AS k (name)
WHERE c.workspace_id = %(workspace_id)s AND c.bucket BETWEEN 0 AND 4095 AND NOT c.is_gone AND starts_with(k.name, 'custom.')
ORDER BY k.name
