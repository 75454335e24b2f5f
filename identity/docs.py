"""The documentation."""

from litestar.types import ControllerRouterHandler


def docs_handlers() -> list[ControllerRouterHandler]:
    """Return the handlers of the documentation."""
    return []
