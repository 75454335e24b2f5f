-- Which shard each bucket lies in; run on Citus only. Rows: bucket, shard. Locks: none.
SELECT b, get_shard_id_for_distribution_column('customer', b::smallint) FROM generate_series(0, 4095) AS b
