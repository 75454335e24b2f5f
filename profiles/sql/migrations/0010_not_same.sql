-- Pairs of customers of whom an admin said that they are not one person; the bucket is that of the first id.
CREATE TABLE not_same (
    bucket smallint NOT NULL,
    workspace_id integer NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    other_id text COLLATE "C" NOT NULL,
    actor text NOT NULL,
    note text,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, customer_id, other_id, bucket),
    CHECK (customer_id < other_id)
);
