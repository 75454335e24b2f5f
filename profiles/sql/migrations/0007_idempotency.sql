-- Requests that came with an Idempotency-Key, and what was answered, so that a retry is answered alike.

-- Nothing in a row can be read without the secret key of its caller, which is kept nowhere: `name` is a keyed digest of
-- the Idempotency-Key, `fingerprint` one of the request, and `answer` is encrypted (profiles/idempotency.py).
-- `claim_id` is who is at work on it, or was; without an answer, the claim lapses after a while.
CREATE TABLE idempotent_request (
    bucket smallint NOT NULL,
    workspace_id integer NOT NULL,
    key_id uuid NOT NULL,
    name bytea NOT NULL,
    fingerprint bytea NOT NULL,
    claim_id uuid NOT NULL,
    claimed_at timestamptz NOT NULL,
    answer bytea,
    PRIMARY KEY (workspace_id, key_id, name, bucket)
);
CREATE INDEX idempotent_request_age ON idempotent_request (workspace_id, claimed_at);
