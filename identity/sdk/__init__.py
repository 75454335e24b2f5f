"""The browser SDK as it is served: the present script, every one that pages still pin, and its types."""

import gzip
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256, sha384
from pathlib import Path
from typing import Any

import msgspec
from litestar import Request as LitestarRequest
from litestar import Response as LitestarResponse
from litestar import get
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from profiles.http import Problem

SDK_PATH = "/sdk"
SCRIPT_PATH = f"{SDK_PATH}.js"
TYPES_PATH = f"{SDK_PATH}.d.ts"
RELEASE_PATH = f"{SDK_PATH}.json"
FOLDER = Path(__file__).parent

# A mended SDK is on every page five minutes after the service has it.
_SOON = "public, max-age=300"
_FOR_GOOD = "public, max-age=31536000, immutable"
_PUBLIC = {
    # Browsers check `integrity` only of what they may read.
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
    "x-content-type-options": "nosniff",
}
_JAVASCRIPT = "text/javascript"

Incoming = LitestarRequest[Any, Any, Any]


class Script(msgspec.Struct, frozen=True):
    """One script as it goes out. ``digest`` names it in its pinned path; ``integrity`` is the attribute of its tag."""

    body: bytes
    gzipped: bytes
    digest: str
    integrity: str

    @property
    def pinned_path(self) -> str:
        """Where this very script stays, whatever becomes of the service."""
        return f"{SDK_PATH}/{self.digest}.js"


class SdkRelease(msgspec.Struct, frozen=True):
    """Where the SDK is: ``script`` is always the present one, ``pinned`` this very one, with its ``integrity``."""

    script: str
    pinned: str
    integrity: str
    types: str
    gzipped_bytes: int


def strip(source: str) -> bytes:
    """Return a script without indentation, empty lines and comments. Comments must have lines of their own."""
    lines = (line.strip() for line in source.splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("//")).encode()


def read_script(path: Path) -> Script:
    """Return the script of a file."""
    body = strip(path.read_text("utf-8"))
    return Script(
        body=body,
        gzipped=gzip.compress(body, 9, mtime=0),
        digest=sha256(body).hexdigest()[:16],
        integrity=f"sha384-{b64encode(sha384(body).digest()).decode()}",
    )


def read_scripts(folder: Path) -> dict[str, Script]:
    """Return every script of a folder by its digest: beside ``sdk.js`` lie former ones that pages still pin."""
    return {script.digest: script for script in map(read_script, sorted(folder.glob("*.js")))}


PRESENT = read_script(FOLDER / "sdk.js")


def release() -> SdkRelease:
    """Return where the present SDK is."""
    return SdkRelease(SCRIPT_PATH, PRESENT.pinned_path, PRESENT.integrity, TYPES_PATH, len(PRESENT.gzipped))


def sdk_handlers(folder: Path = FOLDER) -> list[ControllerRouterHandler]:
    """Return the handlers of the SDK."""
    scripts = {f"{digest}.js": script for digest, script in read_scripts(folder).items()}
    types = (FOLDER / "sdk.d.ts").read_bytes()
    told = msgspec.json.encode(release())

    @get(SCRIPT_PATH, status_code=200)
    async def present(request: Incoming) -> LitestarResponse[bytes]:
        return _answer(request, PRESENT, _SOON)

    @get(f"{SDK_PATH}/{{name:str}}", status_code=200)
    async def pinned(request: Incoming, name: FromPath[str]) -> LitestarResponse[bytes]:
        if name not in scripts:
            raise Problem(404, "not_found", f"There is no such SDK here. {RELEASE_PATH} tells which there is.")
        return _answer(request, scripts[name], _FOR_GOOD)

    @get(TYPES_PATH, status_code=200)
    async def declarations() -> LitestarResponse[bytes]:
        return _plain(types, "text/plain")

    @get(RELEASE_PATH, status_code=200)
    async def newest() -> LitestarResponse[bytes]:
        return _plain(told, "application/json")

    return [present, pinned, declarations, newest]


def _answer(request: Incoming, script: Script, caching: str) -> LitestarResponse[bytes]:
    is_gzipped = takes_gzip(request.headers.get("accept-encoding", ""))
    etag = f'"{script.digest}-gzip"' if is_gzipped else f'"{script.digest}"'
    headers: Mapping[str, str] = {**_PUBLIC, "cache-control": caching, "etag": etag, "vary": "accept-encoding"}
    if etag in request.headers.get("if-none-match", ""):
        return LitestarResponse(b"", status_code=304, headers=headers, media_type=_JAVASCRIPT)
    if is_gzipped:
        return LitestarResponse(script.gzipped, headers={**headers, "content-encoding": "gzip"}, media_type=_JAVASCRIPT)
    return LitestarResponse(script.body, headers=headers, media_type=_JAVASCRIPT)


def takes_gzip(accept_encoding: str) -> bool:
    """Return whether an Accept-Encoding takes gzip by name, and not with a weight of nothing."""
    for choice in accept_encoding.lower().split(","):
        coding, _, weight = choice.replace(" ", "").partition(";q=")
        if coding == "gzip":
            return weight.rstrip("0.") != "" or weight == ""
    return False


def _plain(body: bytes, media_type: str) -> LitestarResponse[bytes]:
    return LitestarResponse(body, headers={**_PUBLIC, "cache-control": _SOON}, media_type=media_type)
