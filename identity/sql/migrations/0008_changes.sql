-- The order of the change feed, and the webhooks that it is pushed to.

-- The transaction that wrote a row, since transactions are not committed in the order of merge ids. Null, for the rows
-- that were there before, counts as 0. The default comes apart from the column, or the table would be written anew.
ALTER TABLE merge ADD COLUMN xid bigint;
ALTER TABLE merge ALTER COLUMN xid SET DEFAULT (pg_current_xact_id()::text::bigint);
CREATE INDEX merge_change ON merge (workspace_id, (coalesce(xid, 0)), merge_id);

-- What is added to the numbers of transactions: a restored store counts on where it stood (profiles.migrate.restored).
ALTER TABLE store ADD COLUMN xid_offset bigint NOT NULL DEFAULT 0;

-- `secrets`: identity.webhooks.message.Secret, the newest first; in clear, for messages are signed with them.
-- (`xid`, `change_id`): the last change that is done with. `turn` goes up with whatever an admin does, which takes the
-- webhook from the worker that has the lease. `failing_since`, `attempts`, `retry_at`: of the change that is next.
CREATE TABLE webhook (
    webhook_id uuid NOT NULL PRIMARY KEY,
    workspace_id integer NOT NULL REFERENCES workspace,
    url text NOT NULL,
    description text NOT NULL,
    types text[] NOT NULL,
    secrets jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('active', 'paused', 'failed', 'gone')),
    turn integer NOT NULL,
    xid bigint NOT NULL,
    change_id uuid NOT NULL,
    attempts integer NOT NULL,
    failing_since timestamptz,
    retry_at timestamptz,
    answer smallint,
    fault text,
    leased_by uuid,
    leased_until timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX webhook_workspace ON webhook (workspace_id, created_at);

-- What became of each change that a webhook wanted, by its last try. No personal data: the ledger has the change.
CREATE TABLE webhook_delivery (
    bucket smallint NOT NULL,
    workspace_id integer NOT NULL,
    webhook_id uuid NOT NULL,
    change_id uuid NOT NULL,
    is_delivered boolean NOT NULL,
    attempts integer NOT NULL,
    answer smallint,
    fault text,
    milliseconds integer NOT NULL,
    tried_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, webhook_id, change_id, bucket)
);
