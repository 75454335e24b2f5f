-- Tell every worker that channels or keys changed. Rows: the new generation. Locks: the store's row.
UPDATE store SET generation = generation + 1 RETURNING generation
