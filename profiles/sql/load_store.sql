-- The store's id, the generation of its channels and keys, and its schema. Rows: one. Locks: none.
SELECT s.store_id, s.generation, (SELECT max(number) FROM migration) FROM store AS s
