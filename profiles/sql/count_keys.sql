-- How many keys of a workspace are in force, and how many of them may administer it. Rows: one. Locks: none.
SELECT count(*), count(*) FILTER (WHERE %(scope)s::text = ANY (scopes))
FROM secret_key
WHERE workspace_id = %(workspace_id)s AND revoked_at IS NULL
