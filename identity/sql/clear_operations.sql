-- Clear the ids of an erased customer, or of a visitor, out of the filters of works that were begun by them: these find
-- nothing any more. Rows: one per work. Locks: those rows.
UPDATE operation SET parameters = parameters || jsonb_build_object(%(name)s::text, ''), note = NULL
WHERE workspace_id = %(workspace_id)s AND parameters ->> %(name)s::text = %(id)s::text
RETURNING operation_id::text
