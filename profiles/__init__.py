"""What is known of a customer: fields, merges, the ledger, lookups. Imports nothing from ``identity``."""
