-- An identification can be taken back: by a row of its own (kind undone), which names in `undoes` what it takes back.
-- Of an erased customer, what its visitors did in its time is nobody's (kind erased).
ALTER TABLE visitor_fact
    ADD COLUMN undoes uuid[],
    ADD COLUMN actor text,
    ADD COLUMN note text,
    ADD COLUMN operation_id uuid,
    DROP CONSTRAINT visitor_fact_kind_check,
    ADD CONSTRAINT visitor_fact_kind_check CHECK (kind IN ('identified', 'signed_out', 'anonymous', 'undone', 'erased'));
