-- The footprint: what visitors did, append-only. A row never says whose it is: that follows from the identifications.

-- `subject` is the visitor or, where `is_direct`, the customer whom an event named without a visitor.
-- A month of `kept_until` is a partition (identity/partitions.py makes and drops them): a workspace keeps its events for
-- so many days by giving them that date, and all of them leave by dropping the partition.
CREATE TABLE event (
    bucket smallint NOT NULL,
    workspace_id integer NOT NULL,
    is_direct boolean NOT NULL,
    subject text COLLATE "C" NOT NULL,
    occurred_at timestamptz NOT NULL,
    record_id uuid NOT NULL,
    kept_until date NOT NULL,
    received_at timestamptz NOT NULL,
    channel_id uuid,
    type text COLLATE "C" NOT NULL,
    label text COLLATE "C",
    event_id text COLLATE "C",
    customer_id text COLLATE "C",  -- as the sender named it; belonging does not follow from it unless `is_direct`
    order_id text COLLATE "C",
    revenue double precision,
    currency text COLLATE "C",
    props jsonb NOT NULL,
    remarks jsonb NOT NULL,
    PRIMARY KEY (workspace_id, is_direct, subject, occurred_at, record_id, kept_until, bucket)
) PARTITION BY RANGE (kept_until);

-- Transactions that were told, for good: whoever tells one again, nothing is counted twice.
CREATE TABLE purchase (
    bucket smallint NOT NULL,
    workspace_id integer NOT NULL,
    transaction_id text COLLATE "C" NOT NULL,
    record_id uuid NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, transaction_id, bucket)
);

-- When `footprint_days` became what it is; null if it always was. Events that arrived since have their `kept_until` by it,
-- so that a reader of recent ones need not look into all months.
ALTER TABLE workspace ADD COLUMN footprint_changed_at timestamptz;
