-- What an event that no signed token vouches for may do to a held value.
ALTER TABLE channel ADD COLUMN unsigned_writes text NOT NULL DEFAULT 'overwrite'
    CHECK (unsigned_writes IN ('overwrite', 'fill_empty'));
