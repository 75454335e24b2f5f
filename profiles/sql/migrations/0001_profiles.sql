-- The tables of `profiles`. `bucket` is last in every key of a row that belongs to a tenant (see profiles/placement.py).

CREATE TABLE store (
    store_id text NOT NULL PRIMARY KEY,
    generation bigint NOT NULL
);

CREATE TABLE workspace (
    workspace_id integer NOT NULL PRIMARY KEY,
    slug text NOT NULL UNIQUE,
    spread smallint NOT NULL DEFAULT 1 CHECK (spread BETWEEN 1 AND 4096),
    blocked_customer_ids text[],
    footprint_days smallint NOT NULL DEFAULT 395 CHECK (footprint_days BETWEEN 1 AND 3650),
    created_at timestamptz NOT NULL
);

CREATE TABLE secret_key (
    key_id uuid NOT NULL PRIMARY KEY,
    workspace_id integer NOT NULL REFERENCES workspace,
    name text NOT NULL,
    scopes text[] NOT NULL,
    secret_hash text NOT NULL UNIQUE,
    hint text NOT NULL,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);

CREATE TABLE customer (
    bucket smallint NOT NULL,
    workspace_id integer NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    fields jsonb NOT NULL,
    digest text COLLATE "C",
    email_key text COLLATE "C",
    alternate_email_key text COLLATE "C",
    mobile_key text COLLATE "C",
    alternate_mobile_key text COLLATE "C",
    PRIMARY KEY (workspace_id, customer_id, bucket)
);
CREATE INDEX customer_email ON customer (workspace_id, email_key) WHERE email_key IS NOT NULL;
CREATE INDEX customer_alternate_email ON customer (workspace_id, alternate_email_key)
    WHERE alternate_email_key IS NOT NULL;
CREATE INDEX customer_mobile ON customer (workspace_id, mobile_key) WHERE mobile_key IS NOT NULL;
CREATE INDEX customer_alternate_mobile ON customer (workspace_id, alternate_mobile_key)
    WHERE alternate_mobile_key IS NOT NULL;

-- One row per version of a customer. The primary key is the optimistic lock: whoever inserts version n + 1 has it.
CREATE TABLE merge (
    bucket smallint NOT NULL,
    workspace_id integer NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    merge_id uuid NOT NULL,
    is_link boolean NOT NULL,
    created_customer boolean NOT NULL,
    skipped boolean NOT NULL,
    policy text NOT NULL,
    source text NOT NULL,
    event text NOT NULL,
    event_id text COLLATE "C",
    visitor_id text COLLATE "C",
    channel_id uuid,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    digest text COLLATE "C",
    decisions jsonb NOT NULL,
    rules smallint NOT NULL DEFAULT 1,  -- profiles.fields.RULES_VERSION, by which the values were read
    PRIMARY KEY (workspace_id, customer_id, version, bucket),
    UNIQUE (workspace_id, merge_id, bucket)
);
CREATE INDEX merge_visitor ON merge (workspace_id, visitor_id, merge_id) WHERE visitor_id IS NOT NULL;
CREATE INDEX merge_skipped ON merge (workspace_id, merge_id) WHERE skipped;

-- Which visitors were ever linked to a customer; belonging follows from visitor_fact, this is its reverse.
CREATE TABLE customer_visitor (
    bucket smallint NOT NULL,
    workspace_id integer NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    visitor_id text COLLATE "C" NOT NULL,
    linked_at timestamptz NOT NULL,
    is_current boolean NOT NULL,
    PRIMARY KEY (workspace_id, customer_id, visitor_id, bucket)
);
