"""Webhooks: the change feed, pushed to addresses that admins name, signed as Standard Webhooks says."""
