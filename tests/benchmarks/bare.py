"""What everything is measured against: an ordinary Litestar handler that decodes the same body and does nothing."""

import msgspec
from litestar import Litestar, get, post


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """The body of authenticate.json."""

    visitor_id: str
    customer_id: str
    display_email: str | None = None
    display_name: str | None = None
    display_mobile: str | None = None
    gender: str | None = None
    birth: str | None = None
    address: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """The constant."""

    status: str


_OK = Answer("ok")


@post("/api/v1/authenticate", status_code=200)
async def authenticate(data: Push) -> Answer:
    """Decode and forget."""
    return _OK


@get("/readyz")
async def readyz() -> Answer:
    """Tell the benchmark that it may begin."""
    return _OK


def create() -> Litestar:
    """Return the application of one worker."""
    return Litestar([authenticate, readyz], openapi_config=None, logging_config=None)
