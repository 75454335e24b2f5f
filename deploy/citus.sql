-- Spread the tables over the nodes of a Citus cluster (13 on PostgreSQL 15 to 17, 14 on 16 to 18).
--
-- On the coordinator, once, after `identity migrate` and before the first event:
--   psql --single-transaction --set=ON_ERROR_STOP=1 --file=deploy/citus.sql "$IDENTITY_DATABASE_URL"
--
-- Small tables that every node needs are copied to all. Everything of a tenant lies in shards by `bucket`, all of
-- them colocated with `customer`, so that a transaction of one tenant stays on one shard (see profiles/placement.py).

CREATE EXTENSION IF NOT EXISTS citus;

SELECT create_reference_table('migration');
SELECT create_reference_table('store');
SELECT create_reference_table('workspace');
SELECT create_reference_table('secret_key');
SELECT create_reference_table('channel');
SELECT create_reference_table('operation');
SELECT create_reference_table('webhook');

-- 32 shards for up to about 8 nodes; 128 for dozens. It cannot be less than the nodes you will ever have.
SELECT create_distributed_table('customer', 'bucket', shard_count := 32);
SELECT create_distributed_table('merge', 'bucket', colocate_with := 'customer');
SELECT create_distributed_table('customer_visitor', 'bucket', colocate_with := 'customer');
SELECT create_distributed_table('visitor', 'bucket', colocate_with := 'customer');
SELECT create_distributed_table('visitor_fact', 'bucket', colocate_with := 'customer');
SELECT create_distributed_table('event_seen', 'bucket', colocate_with := 'customer');
SELECT create_distributed_table('refusal', 'bucket', colocate_with := 'customer');
SELECT create_distributed_table('refusal_count', 'bucket', colocate_with := 'customer');
-- A partition that is attached later is distributed by that (see identity/partitions.py).
SELECT create_distributed_table('event', 'bucket', colocate_with := 'customer');
SELECT create_distributed_table('purchase', 'bucket', colocate_with := 'customer');
SELECT create_distributed_table('idempotent_request', 'bucket', colocate_with := 'customer');
SELECT create_distributed_table('webhook_delivery', 'bucket', colocate_with := 'customer');
SELECT create_distributed_table('erasure', 'bucket', colocate_with := 'customer');
SELECT create_distributed_table('not_same', 'bucket', colocate_with := 'customer');
