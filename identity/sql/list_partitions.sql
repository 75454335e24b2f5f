-- The partitions of the footprint. Rows: their names, in order, which is that of their months. Locks: none.
SELECT c.relname::text
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'event'::regclass
ORDER BY c.relname
