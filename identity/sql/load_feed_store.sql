-- Which store this is, and what its transactions' numbers are counted from. Rows: one. Locks: none.
SELECT store_id, xid_offset FROM store
