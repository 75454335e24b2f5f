-- Append to the ledger, thousands of rows at a time. A version that another writer took first fails all of them.
-- Rows: none. Locks: the new keys, in the order of the rows, which must be that of the key.
COPY merge (
    bucket, workspace_id, customer_id, version, merge_id, is_link, created_customer, skipped, policy, source, event,
    event_id, visitor_id, channel_id, occurred_at, received_at, digest, decisions, rules,
    other_id, actor, note, operation_id, link
) FROM STDIN
