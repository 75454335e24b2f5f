"""The inspector: what admins may see and change."""
