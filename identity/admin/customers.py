"""What admins ask and do about one customer or one visitor: ids are read from the path as it was sent, percent-encoded,
since they may hold slashes, which Litestar's own path parameters take apart.
"""

from collections.abc import Callable, Mapping
from urllib.parse import unquote_to_bytes

from litestar.types import ASGIApp, Receive, Scope, Send

from identity.admin.joining import Handler
from profiles.access import Access
from profiles.access import Scope as KeyScope
from profiles.http import Endpoint, Problem, Request, Response, asgi_app

ADMIN_CUSTOMERS_PATH = "/api/v1/admin/customers"
ADMIN_VISITORS_PATH = "/api/v1/admin/visitors"


class SubjectRoutes:
    """Everything below ``path``, where an id and one of the actions follow.

    ``name`` is what the documentation calls the id, ``customer_id`` or ``visitor_id``; ``read_id`` reads it or gives
    None; ``handlers`` are what answers, by method and by what stands behind the id.
    """

    def __init__(
        self,
        access: Access,
        path: str,
        name: str,
        read_id: Callable[[object], str | None],
        handlers: Mapping[tuple[str, str], Handler],
    ) -> None:
        self._access = access
        self._path = path
        self._name = name
        self._read_id = read_id
        self._nowhere = asgi_app(path, _nowhere)
        methods: dict[str, dict[str, Handler]] = {}
        for (method, action), handler in handlers.items():
            methods.setdefault(action, {})[method] = handler
        self._apps: dict[str, ASGIApp] = {
            action: asgi_app(f"{path}/{{{name}}}/{action}", self._endpoint(by_method))
            for action, by_method in methods.items()
        }

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI application; each action is measured under its own name."""
        _, action = self._parts(scope)
        await self._apps.get(action, self._nowhere)(scope, receive, send)

    def _endpoint(self, handlers: Mapping[str, Handler]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            handler = handlers.get("GET" if request.method == "HEAD" else request.method)
            if handler is None:
                allow = ", ".join([*handlers, *(["HEAD"] if "GET" in handlers else [])])
                raise Problem(405, "method_not_allowed", f"Use {allow}.", ((b"allow", allow.encode()),))
            key = await self._access.authorize(request, KeyScope.ADMIN)
            sent, _ = self._parts(request.scope)
            identifier = self._read_id(unquote_to_bytes(sent).decode("utf-8", "replace"))
            if identifier is None and self._name == "customer_id":
                raise Problem(404, "customer_not_found", "No customer is held by this id.")
            if identifier is None:
                raise Problem(404, "visitor_not_found", "No visitor with this id was ever seen.")
            return await handler(request, key, identifier)

        return endpoint

    def _parts(self, scope: Scope) -> tuple[bytes, str]:
        """Return the id as it was sent, and the action; no action for what is no address of ours."""
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        below = raw.partition(b"?")[0][len(self._path) :]
        if not below.startswith(b"/"):  # a mount takes every path that begins like it
            return b"", ""
        sent, _, action = below[1:].rstrip(b"/").partition(b"/")
        return sent, action.decode("latin-1")


async def _nowhere(_: Request) -> Response:
    raise Problem(404, "not_found", "There is nothing at this address. A slash within an id is sent as %2F.")
