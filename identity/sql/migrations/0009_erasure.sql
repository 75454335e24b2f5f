-- Erased customers. A keyed hash of the id is all that is left of one, so that late and replayed events, and restored
-- backups, don't bring the person back.

-- The key of those hashes: who has it and a customer id can tell whether that customer was erased.
ALTER TABLE store ADD COLUMN erasure_key bytea NOT NULL
    DEFAULT (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

-- Whether anybody was ever erased in a workspace: only then are events looked through for erased customers beforehand.
ALTER TABLE workspace ADD COLUMN has_erasures boolean NOT NULL DEFAULT false;

-- `bucket` is that of the customer's id, `version` the last that the customer took: a customer whose erasure was lifted
-- goes on behind it. `pending`: identity.erasure.Pending, with ids in clear, until everything is removed.
CREATE TABLE erasure (
    bucket smallint NOT NULL,
    workspace_id integer NOT NULL,
    customer_hash text COLLATE "C" NOT NULL,
    erasure_id uuid NOT NULL,
    version integer NOT NULL,
    actor text NOT NULL,
    erased_at timestamptz NOT NULL,
    pending jsonb,
    receipt jsonb NOT NULL,
    lifted_at timestamptz,
    lifted_by text,
    xid bigint,
    PRIMARY KEY (workspace_id, customer_hash, bucket)
);
-- As of `merge`: the change feed tells of erasures in the order of transactions.
ALTER TABLE erasure ALTER COLUMN xid SET DEFAULT (pg_current_xact_id()::text::bigint);
CREATE INDEX erasure_change ON erasure (workspace_id, (coalesce(xid, 0)), erasure_id);
CREATE INDEX erasure_pending ON erasure (workspace_id) WHERE pending IS NOT NULL;

-- What names a customer without being found by one, looked for when the customer is erased or asks what is held.
CREATE INDEX refusal_customer ON refusal (workspace_id, customer_id) WHERE customer_id IS NOT NULL;
CREATE INDEX refusal_visitor ON refusal (workspace_id, visitor_id) WHERE visitor_id IS NOT NULL;
CREATE INDEX visitor_fact_named ON visitor_fact (workspace_id, customer_id)
    WHERE NOT applied AND customer_id IS NOT NULL;
CREATE INDEX event_named ON event (workspace_id, customer_id) WHERE NOT is_direct AND customer_id IS NOT NULL;
