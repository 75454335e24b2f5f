-- The tables of `identity`.

CREATE TABLE channel (
    channel_id uuid NOT NULL PRIMARY KEY,
    workspace_id integer NOT NULL REFERENCES workspace,
    name text NOT NULL,
    write_key text NOT NULL UNIQUE,
    website_tracking boolean NOT NULL,
    origins text[] NOT NULL,
    on_sign_out text NOT NULL CHECK (on_sign_out IN ('forget', 'keep')),
    signed_identity text NOT NULL DEFAULT 'off' CHECK (signed_identity IN ('off', 'observe', 'required')),
    identity_keys jsonb NOT NULL DEFAULT '[]',  -- identity.tokens.IdentityKey, several while they are changed over
    created_at timestamptz NOT NULL,
    revoked_at timestamptz
);

-- The present state of a visitor: the fold of its facts up to `version`.
CREATE TABLE visitor (
    bucket smallint NOT NULL,
    workspace_id integer NOT NULL,
    visitor_id text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    customer_id text COLLATE "C",
    since timestamptz,
    last_customer_id text COLLATE "C",
    last_since timestamptz,
    anonymous jsonb NOT NULL,
    PRIMARY KEY (workspace_id, visitor_id, bucket)
);

-- What was said of a visitor, one row per version, insert-only. An identification holds from occurred_at until the
-- visitor's next one (change points, no intervals), so a late one slots in and nothing can overlap.
CREATE TABLE visitor_fact (
    bucket smallint NOT NULL,
    workspace_id integer NOT NULL,
    visitor_id text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    fact_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('identified', 'signed_out', 'anonymous')),
    applied boolean NOT NULL,
    customer_id text COLLATE "C",
    channel_id uuid,
    source text NOT NULL,
    event text NOT NULL,
    event_id text COLLATE "C",
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    decisions jsonb NOT NULL,
    rules smallint NOT NULL DEFAULT 1,  -- profiles.fields.RULES_VERSION, by which the values were read
    PRIMARY KEY (workspace_id, visitor_id, version, bucket)
);

-- Event ids that were acted upon, so that a retry changes nothing.
CREATE TABLE event_seen (
    bucket smallint NOT NULL,
    workspace_id integer NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, event_id, bucket)
);
CREATE INDEX event_seen_age ON event_seen (received_at);

-- Refused events. The values that were sent are not kept, only the names of the fields and what was wrong where.
CREATE TABLE refusal (
    bucket smallint NOT NULL,
    workspace_id integer NOT NULL,
    refusal_id uuid NOT NULL,
    channel_id uuid,
    reason text NOT NULL,
    event text NOT NULL,
    event_id text,
    visitor_id text,
    customer_id text,
    fields text[] NOT NULL,
    faults jsonb NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, refusal_id, bucket)
);

-- Complete counts, which outlive the rows of `refusal`.
CREATE TABLE refusal_count (
    bucket smallint NOT NULL,
    workspace_id integer NOT NULL,
    channel_id uuid NOT NULL,
    reason text NOT NULL,
    day date NOT NULL,
    refused bigint NOT NULL,
    PRIMARY KEY (workspace_id, channel_id, reason, day, bucket)
);
