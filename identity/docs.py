"""The documentation of the API: one page without scripts and without any other address, and the same for programs."""

import json
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from typing import Any

import msgspec
from litestar import Response as LitestarResponse
from litestar import get
from litestar.types import ControllerRouterHandler

from identity.openapi import document
from identity.openapi.spec import Json

DOCS_PATH = "/docs"
METHODS = ("get", "post", "put", "patch", "delete")

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #5b6470; --line: #d8dde3; --tint: #f3f5f7;
  --link: #0a58ca; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --paper: #14171a; --soft: #9aa5b1; --line: #343b43;
  --tint: #1e2328; --link: #7db4ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
a { color: var(--link); }
h1 { font-size: 1.7rem; } h2 { font-size: 1.35rem; margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 2rem 0 .3rem; } h4 { font-size: .9rem; margin: 1rem 0 .2rem; color: var(--soft); }
p { margin: .3rem 0; white-space: pre-line; }
code, pre { font: .86em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: var(--tint); border: 1px solid var(--line); border-radius: .3rem; padding: .6rem; overflow-x: auto; }
.method { display: inline-block; min-width: 4rem; font-weight: 700; text-transform: uppercase; }
.soft { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } th, td { border-bottom: 1px solid var(--line); padding: .3rem .5rem;
  text-align: left; vertical-align: top; } th { color: var(--soft); font-size: .85rem; }
nav ul { list-style: none; padding: 0; } nav li { margin: .2rem 0; }
"""

_HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-cache",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def docs_handlers() -> list[ControllerRouterHandler]:
    """Return the handlers of ``DOCS_PATH``."""
    described = document()
    page, program = render(described).encode(), msgspec.json.encode(described)

    @get(DOCS_PATH, status_code=200)
    async def docs() -> LitestarResponse[bytes]:
        return LitestarResponse(page, headers=_HEADERS, media_type="text/html")

    @get(f"{DOCS_PATH}/openapi.json", status_code=200)
    async def openapi() -> LitestarResponse[bytes]:
        return LitestarResponse(program, headers=_HEADERS, media_type="application/json")

    return [docs, openapi]


class _Html(str):
    """Text that is HTML already. Everything else is escaped."""

    __slots__ = ()


def _join(*children: str) -> _Html:
    return _Html("".join(child if isinstance(child, _Html) else escape(child) for child in children))


def _tag(name: str, *children: str, **attributes: str) -> _Html:
    told = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return _Html(f"<{name}{told}>{_join(*children)}</{name}>")


def render(described: Json) -> str:
    """Return an OpenAPI document as a page."""
    info = described["info"]
    head = _join(
        _Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        _tag("title", f"{info['title']} API"),
        _Html(f"<style>{_STYLE}</style>"),
    )
    body = _join(
        _tag("h1", f"{info['title']} API"),
        _tag("p", info["summary"]),
        _tag("p", info["description"]),
        _tag("p", _tag("a", "The same as an OpenAPI document", href=f"{DOCS_PATH}/openapi.json")),
        _tag("h2", "Keys"),
        _keys(described["components"]["securitySchemes"]),
        _tag("nav", _tag("h2", "Calls"), *(_contents(described, tag) for tag in described["tags"])),
        _tag("main", *(_section(described, tag) for tag in described["tags"])),
        _tag("h2", "Shapes"),
        *(_schema(name, schema) for name, schema in described["components"]["schemas"].items()),
    )
    return _join(_Html("<!doctype html>"), _tag("html", _tag("head", head), _tag("body", body), lang="en"))


def _operations(described: Json, tag: Json) -> list[tuple[str, str, Json]]:
    return [
        (path, method, item[method])
        for path, item in described["paths"].items()
        for method in METHODS
        if method in item and tag["name"] in item[method]["tags"]
    ]


def _keys(schemes: Json) -> _Html:
    rows = [[scheme.get("name", "Authorization: Bearer"), scheme["description"]] for scheme in schemes.values()]
    return _table(["Header", ""], [[_tag("code", name), text] for name, text in rows])


def _contents(described: Json, tag: Json) -> _Html:
    items = [
        _tag("li", _tag("a", _call(method, path), href=f"#{operation['operationId']}"), " ", operation["summary"])
        for path, method, operation in _operations(described, tag)
    ]
    return _join(_tag("h4", tag["name"]), _tag("ul", *items))


def _call(method: str, path: str) -> _Html:
    return _tag("code", _tag("span", method, class_="method"), path)


def _section(described: Json, tag: Json) -> _Html:
    calls = [_operation(path, method, operation) for path, method, operation in _operations(described, tag)]
    return _join(_tag("h2", tag["name"]), _tag("p", tag["description"]), *calls)


def _operation(path: str, method: str, operation: Json) -> _Html:
    parts = [
        _tag("h3", _call(method, path), id=operation["operationId"]),
        _tag("p", _tag("strong", operation["summary"])),
        _tag("p", operation["description"]),
        _tag("p", _security(operation["security"]), class_="soft"),
    ]
    if "parameters" in operation:
        rows = [
            [
                _tag("code", p["name"]),
                _join(p["in"], ", needed" if p.get("required") else ""),
                _join(p["description"], " ", _type(p["schema"])),
            ]
            for p in operation["parameters"]
        ]
        parts += [_tag("h4", "Parameters"), _table(["Name", "Where", ""], rows)]
    if "requestBody" in operation:
        body = operation["requestBody"]
        parts += [_tag("h4", "Body"), _tag("p", body["description"]), *_contents_of(body["content"])]
    for status, answer in operation["responses"].items():
        if int(status) < 400:
            parts += [_tag("h4", f"{status} {answer['description']}"), *_contents_of(answer.get("content", {}))]
            for name, header in answer.get("headers", {}).items():
                parts.append(_tag("p", _tag("code", name), ": ", header["description"]))
    problems = [[s, a["description"]] for s, a in operation["responses"].items() if int(s) >= 400]
    parts += [_tag("h4", "Problems"), _table(["Status", "Codes"], problems)]
    return _tag("section", *parts)


def _security(security: list[Json]) -> str:
    names = [
        {
            "writeKey": "a write key",
            "secretKey": f"a secret key with {' '.join(scopes)}",
            "appId": "an app id",
            "segmentKey": "a write key as the user of Basic authentication",
        }[name]
        for choice in security
        for name, scopes in choice.items()
    ]
    return f"Wants {' or '.join(names)}." if names else "Wants no key."


def _contents_of(content: Json) -> list[_Html]:
    parts = []
    for media_type, told in content.items():
        parts.append(_tag("p", _tag("code", media_type), " ", _type(told["schema"])))
        if "example" in told:
            parts.append(_tag("pre", json.dumps(told["example"], indent=2, ensure_ascii=False)))
    return parts


def _schema(name: str, schema: Json) -> _Html:
    parts = [_tag("h3", _tag("code", name), id=name)]
    if "description" in schema:
        parts.append(_tag("p", schema["description"]))
    if "properties" in schema:
        required = schema.get("required", [])
        rows = [
            [
                _tag("code", member),
                _type(told),
                _join("always. " if member in required else "", told.get("description", "")),
            ]
            for member, told in schema["properties"].items()
        ]
        parts.append(_table(["Member", "Type", ""], rows))
    else:
        parts.append(_tag("p", _type(schema)))
    return _tag("section", *parts)


def _type(schema: Json) -> _Html:
    """Return a schema in a few words, with links to those it refers to."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _tag("a", name, href=f"#{name}")
    if "anyOf" in schema and "type" not in schema:
        return _Html(" or ".join(_type(choice) for choice in schema["anyOf"]))
    if "enum" in schema:
        return _tag("code", " | ".join(schema["enum"]))
    if "const" in schema:
        return _tag("code", json.dumps(schema["const"]))
    kind: Any = schema.get("type", "any value")
    text = " or ".join(kind) if isinstance(kind, list) else kind
    if kind == "array":
        return _join("list of ", _type(schema["items"]), _limits(schema))
    if kind == "object" and "additionalProperties" in schema and schema["additionalProperties"]:
        return _join("map of ", _type(schema["additionalProperties"]))
    return _join(text, f" ({schema['format']})" if "format" in schema else "", _limits(schema))


def _limits(schema: Json) -> str:
    names = {
        "minLength": "at least {} characters", "maxLength": "at most {} characters", "minItems": "at least {}",
        "maxItems": "at most {}", "minimum": "from {}", "maximum": "to {}", "default": "default {}",
    }  # fmt: skip
    told = [
        text.format(schema[name]) for name, text in names.items() if name in schema and schema[name] not in ([], None)
    ]
    return f" ({', '.join(told)})" if told else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> _Html:
    head = _tag("tr", *(_tag("th", text) for text in heads))
    lines = [_tag("tr", *(_tag("td", cell) for cell in row)) for row in rows]
    return _tag("div", _tag("table", _tag("thead", head), _tag("tbody", *lines)), class_="wide")
