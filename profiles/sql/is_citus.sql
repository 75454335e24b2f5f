-- Whether this database is spread over several machines. Rows: one if so. Locks: none.
SELECT 1 FROM pg_extension WHERE extname = 'citus'
