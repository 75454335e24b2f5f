"""What every page of the inspector has: who asks, what came along, and the shapes of addresses and answers."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol
from urllib.parse import urlencode

import msgspec

from identity.admin.sessions import Session
from profiles.clock import read_time
from profiles.http import HeaderPairs, Problem, Request, Response

INSPECTOR_PATH = "/admin"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
GUARDS: HeaderPairs = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # Not no-referrer: browsers would hide the origin of our own forms from us.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
HTML: HeaderPairs = ((b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store"), *GUARDS)


class Visit(msgspec.Struct, frozen=True):
    """One request to a page, and who makes it. ``form`` is what was posted, empty for a page that is only opened."""

    request: Request
    session: Session
    language: str
    form: dict[str, str] = {}

    @property
    def workspace_id(self) -> int:
        """The workspace of the key that signed in; nothing else is ever shown."""
        return self.session.key.workspace_id

    @property
    def actor(self) -> str:
        """What the ledger calls whoever is signed in."""
        return self.session.key.actor

    def named(self, name: str) -> str:
        """Return what a page is about: from its address or, where one of its forms was sent, from that."""
        return self.form.get(name) or self.request.query().get(name, "")


Page = Callable[[Visit], Awaitable[Response]]
Pages = dict[tuple[str, str], Page]
"""Pages by method and by what stands behind ``INSPECTOR_PATH``."""


class Show(Protocol):
    """Renders a template for a visit."""

    def __call__(self, visit: Visit, template: str, *, status: int = 200, **values: object) -> Response: ...


def redirect(to: str, headers: HeaderPairs = ()) -> Response:
    """Return the answer that leads to another page."""
    return Response(303, b"", (*HTML, (b"location", to.encode("ascii", "ignore")), *headers))


def address(path: str, **query: str | None) -> str:
    """Return the address of a page; what is None is left out."""
    asked = {name: value for name, value in query.items() if value is not None}
    return f"{INSPECTOR_PATH}{path}?{urlencode(asked)}" if asked else f"{INSPECTOR_PATH}{path}"


def given(query: Mapping[str, str]) -> dict[str, str]:
    """Return what was filled in: a browser sends the empty fields of a form as well."""
    return {name: value.strip() for name, value in query.items() if value.strip()}


def require_confirmation(form: Mapping[str, str]) -> None:
    """Make sure that the box was ticked.

    Raises:
        Problem: 422, it was not.
    """
    if form.get("sure") != "on":
        raise Problem(422, "not_confirmed", "Tick the box to say that you are sure. Nothing was done.")


def not_of_this_page() -> Problem:
    """Return the answer to a form that no page of ours has."""
    return Problem(400, "invalid_form", "This form is not one of this page.")


def status_of(problem: Problem | None) -> int:
    """Return the status of a page that tells of a problem, or of none."""
    return 200 if problem is None else problem.status


def read_moment(text: str) -> int | None:
    """Return a time as a form or a person gives it, in milliseconds since 1970; None: nothing was given. UTC, where
    nothing else is said.

    Raises:
        Problem: 422, it is none.
    """
    text = text.strip()
    if not text:
        return None
    found = next((at for ending in ("", "Z", ":00Z") if (at := read_time(f"{text}{ending}")) is not None), None)
    if found is None:
        raise Problem(422, "invalid_moment", "A time is written like 2026-07-20T10:00, in UTC.")
    return found
