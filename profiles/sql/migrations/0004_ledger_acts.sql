-- Acts: what is done to a ledger itself (profiles/profile.py, Act), in rows of their own, so that it stays append-only.

-- `undoes`: merge ids that an act takes back. `other_id`: the other customer of a join; of a merge, the id that its
-- event named, where that one is joined into this customer. `operation_id`: the import or bulk undo that wrote the row.
-- `copy_of`: the row of another ledger of which this one is the same, by a join or by taking one apart.
-- `link`: what became of the link of `visitor_id` by the same event.
ALTER TABLE merge
    ADD COLUMN act text CHECK (act IN ('undo', 'lock', 'unlock', 'join', 'unjoin', 'absorb', 'release')),
    ADD COLUMN undoes uuid[],
    ADD COLUMN act_fields text[],
    ADD COLUMN other_id text COLLATE "C",
    ADD COLUMN actor text,
    ADD COLUMN note text,
    ADD COLUMN operation_id uuid,
    ADD COLUMN copy_of uuid,
    ADD COLUMN link text CHECK (link IN ('linked', 'unlinked'));
CREATE INDEX merge_act ON merge (workspace_id, customer_id, version) WHERE act IS NOT NULL;
CREATE INDEX merge_copy ON merge (workspace_id, copy_of) WHERE copy_of IS NOT NULL;
CREATE INDEX merge_operation ON merge (workspace_id, operation_id, merge_id) WHERE operation_id IS NOT NULL;

-- `is_gone`: every merge was taken back; the version lives on. `locks`: the version that locked each field.
-- `joined_into` and `absorbs` are the two ends of joins.
ALTER TABLE customer
    ADD COLUMN is_gone boolean NOT NULL DEFAULT false,
    ADD COLUMN locks jsonb,
    ADD COLUMN joined_into text COLLATE "C",
    ADD COLUMN absorbs text[] COLLATE "C";

-- Long work that an admin began: an import or a bulk undo, done in steps, so that whoever finds it dead goes on with it.
CREATE TABLE operation (
    operation_id uuid NOT NULL PRIMARY KEY,
    workspace_id integer NOT NULL REFERENCES workspace,
    kind text NOT NULL CHECK (kind IN ('import', 'undo')),
    status text NOT NULL CHECK (status IN ('running', 'done', 'failed', 'stopped')),
    actor text NOT NULL,
    note text,
    parameters jsonb NOT NULL,
    progress jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    finished_at timestamptz
);
CREATE INDEX operation_newest ON operation (workspace_id, created_at);
