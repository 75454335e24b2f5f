"""The public door: which channel sends, whether its page may, and what a browser needs to be told about that."""

import contextlib
from collections.abc import Iterable

import msgspec

from identity.channels import Channel, Channels
from identity.events.identity import Event, SignedIdentity, SignIn
from identity.resolve import is_unproven
from identity.tokens import TokenFault, find_fault, read_identity_token
from identity.visitors import BLOCKED_IDS, read_known_customer_id
from profiles import metrics
from profiles.access import Access, Workspace
from profiles.cache import Cache
from profiles.coalesce import Overloaded
from profiles.database import Unavailable
from profiles.http import Endpoint, HeaderPairs, Problem, Request, Response, answer

PREFLIGHT_SECONDS = 7200


class Gate:
    """Who may send. One per process."""

    def __init__(self, cache: Cache, access: Access, channels: Channels) -> None:
        self._cache = cache
        self._access = access
        self._channels = channels

    async def channel(self, write_key: str) -> Channel | None:
        """Return the channel in force with this write key, or None."""
        await self._confirm()
        return self._channels.find(write_key)

    async def channel_by_id(self, channel_id: str) -> Channel | None:
        """Return the channel in force with this id, or None."""
        await self._confirm()
        return self._channels.find_by_id(channel_id)

    async def _confirm(self) -> None:
        await self._access.confirm((await self._cache.read(())).generation)

    def admit(self, channel: Channel | None, request: Request) -> Channel:
        """Return the channel.

        Raises:
            Problem: 401, there is no such channel; 403, it does not take pages of this origin.
        """
        if channel is None:
            raise Problem(401, "unknown_key", "No channel in force has this write key.")
        origin = request.headers.get(b"origin")
        if origin is not None and not channel.allows(origin.decode("latin-1")):
            raise Problem(
                403, "origin_not_allowed", "This channel does not take events from this origin: add it to its origins."
            )
        return channel

    def vouched(self, channel: Channel, event: Event, now: int, *, is_live: bool = True) -> Event:
        """Return the event with whom its ``identity_token`` vouches for, if signatures are looked at."""
        if not channel.sender.looks_at_tokens:
            return event
        text = event.identity_token
        token = None if text is None else read_identity_token(text)
        if token is None:
            fault: TokenFault | None = TokenFault.UNSIGNED if text is None else TokenFault.MALFORMED
        else:
            fault = find_fault(token, channel.identity_keys, now)
        subject = token.subject if token is not None and fault is None else None
        event = msgspec.structs.replace(event, verified_customer=read_known_customer_id(subject))
        if is_live:
            observe(channel, [event], fault)
        return event

    def blocked(self, channel: Channel) -> frozenset[str]:
        """Return the customer ids that stand for nobody on this channel."""
        return blocked_ids(self._access.workspaces[channel.workspace_id])

    def for_browsers(
        self,
        route: str,
        endpoint: Endpoint,
        *,
        methods: bytes = b"POST",
        allowed_headers: bytes = b"content-type, x-write-key",
        credentials: bool = False,
    ) -> Endpoint:
        """Return the endpoint with what a page of another origin needs: an answer to its preflight, and leave to read
        every answer, errors too. ``credentials``: the client sends cookies along, and insists on being told it may.

        Which channel sends is not known before the body is read, so any channel's origin will do; ``admit`` checks it.
        """

        async def answer_browser(request: Request) -> Response:
            origin = request.headers.get(b"origin")
            if origin is not None and not self._channels.any_allows(origin.decode("latin-1")):
                # It may have been added since this worker looked last; a preflight and a request without a key are no
                # occasion to look again but for this.
                with contextlib.suppress(Unavailable, Overloaded):
                    await self._confirm()
            if request.method == "OPTIONS":
                headers = self._cors(origin, credentials=credentials)
                if headers:
                    headers = (
                        *headers,
                        (b"access-control-allow-methods", methods),
                        (b"access-control-allow-headers", allowed_headers),
                        (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS),
                    )
                return Response(204, b"", headers)
            response = await answer(route, endpoint, request)
            if origin is None:
                return response
            cors = self._cors(origin, credentials=credentials)
            return msgspec.structs.replace(response, headers=(*response.headers, *cors))

        return answer_browser

    def _cors(self, origin: bytes | None, *, credentials: bool) -> HeaderPairs:
        if origin is None or not self._channels.any_allows(origin.decode("latin-1")):
            return ()
        headers: HeaderPairs = (
            (b"access-control-allow-origin", origin),
            # Else a page of another origin can't see how long it is asked to wait.
            (b"access-control-expose-headers", b"retry-after"),
            (b"vary", b"Origin"),
        )
        return (*headers, (b"access-control-allow-credentials", b"true")) if credentials else headers


def observe(channel: Channel, events: Iterable[Event], fault: TokenFault | None) -> None:
    """Count what the channel would refuse if it wanted signed identities."""
    if channel.sender.signed_identity is not SignedIdentity.OBSERVE:
        return
    # A token that vouches for someone else is no observation: the event is refused. What a token says in passing is
    # left unsaid if it proves nothing.
    said = (event for event in events if not (isinstance(event, SignIn) and event.only_first))
    if any(is_unproven(event) and event.verified_customer is None for event in said):
        metrics.UNVERIFIED.labels(fault or "no_subject").inc()


def blocked_ids(workspace: Workspace) -> frozenset[str]:
    """Return the customer ids that stand for nobody in a workspace."""
    return BLOCKED_IDS if workspace.blocked is None else workspace.blocked
