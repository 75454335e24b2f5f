"""The inspector: what admins may see and change."""

from identity.admin.routes import admin_handlers

__all__ = ["admin_handlers"]
