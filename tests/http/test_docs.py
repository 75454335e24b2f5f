"""The documentation is complete and true: compared with the routes, the structs, the closed lists and real answers."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from identity.app import Service, build
from identity.docs import METHODS, render
from identity.openapi import document
from identity.openapi.schemas import STRUCTS
from identity.openapi.spec import PROBLEMS, VERDICTS
from identity.parse import EVENT_NAMES, IDENTIFY_NAMES
from identity.refusals import Refusal
from profiles.access import Scope
from profiles.fields import FIELDS
from profiles.remarks import Reason, Verdict
from tests.harness import ADMIN_KEY, CHANNEL_ID, PROJECT, WRITE_KEY, Server, settings_for

DOCUMENT = document()
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item]
MOUNTED = (
    "/api/v1/customers",
    "/api/v1/visitors",
    "/v1/projects",
    "/api/v1/admin/customers",
    "/api/v1/admin/visitors",
    "/api/v1/admin/erasures",
    "/admin",  # pages for people
)
NOBODY = "00000000-0000-4000-8000-000000000000"


def operation(path: str, method: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][path][method]
    return found


def faults(value: Any, schema: dict[str, Any], place: str = "$") -> list[str]:
    """Return where a value is not as its schema tells: the keywords that the document uses."""
    if "$ref" in schema:
        return faults(value, SCHEMAS[schema["$ref"].rpartition("/")[2]], place)
    found: list[str] = []
    if "anyOf" in schema and all(faults(value, choice, place) for choice in schema["anyOf"]):
        found.append(f"{place}: no choice fits")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{place}: {value!r} is not in the list")
    if "const" in schema and value != schema["const"]:
        found.append(f"{place}: {value!r} is not the constant")
    kinds = schema.get("type", [])
    if kinds and not any(_is_of(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return [*found, f"{place}: not of type {kinds}"]
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        found += [f"{place}: {name} is missing" for name in schema.get("required", []) if name not in value]
        for name, member in value.items():
            rest = schema.get("additionalProperties", "properties" not in schema)
            if name not in properties and rest is False:
                found.append(f"{place}: {name} is not known")
            told = properties.get(name, rest if isinstance(rest, dict) else {})
            found += faults(member, told, f"{place}.{name}")
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += faults(item, schema.get("items", {}), f"{place}[{index}]")
    return found


def _is_of(value: object, kind: str) -> bool:
    if kind in ("integer", "number"):
        return isinstance(value, int | float if kind == "number" else int) and not isinstance(value, bool)
    return isinstance(value, {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}[kind])


def nodes(value: object) -> list[dict[str, Any]]:
    """Return every object within."""
    if isinstance(value, list):
        return [found for item in value for found in nodes(item)]
    if not isinstance(value, dict):
        return []
    return [value, *(found for item in value.values() for found in nodes(item))]


def test_the_documented_paths_and_methods_are_those_of_the_application():
    app = build(Service(settings_for("postgresql://nowhere/x", "redis://nowhere"), "x"))

    routes = {route.path_format: route for route in app.routes}

    documented = {path for path in DOCUMENT["paths"] if not path.startswith(MOUNTED)}
    assert documented == routes.keys() - set(MOUNTED)
    for path in documented:
        methods = {str(method).lower() for method in getattr(routes[path], "methods", [])} - {"options"}
        assert methods <= set(METHODS)
        assert not methods or methods == DOCUMENT["paths"][path].keys()


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_an_address_takes_the_documented_methods_and_no_others(server: Server, path: str):
    address = re.sub(r"\{\w+\}", NOBODY, path)
    headers = {"Authorization": f"Bearer {ADMIN_KEY}", "X-Write-Key": WRITE_KEY}

    answers = {m: server.client.request(m, address, headers=headers).status_code for m in METHODS}

    wanted = set(DOCUMENT["paths"][path])
    if path == "/api/v1/customers/lookup":
        wanted |= {"get", "patch", "delete"}  # a customer of that name
    assert {method for method, status in answers.items() if status != 405} == wanted
    for method in DOCUMENT["paths"][path]:
        assert str(answers[method]) in operation(path, method)["responses"]


def test_the_document_is_sound():
    names = [operation(*call)["operationId"] for call in OPERATIONS]
    tags = {tag["name"] for tag in DOCUMENT["tags"]}

    assert DOCUMENT["openapi"] == "3.1.0"
    assert len(set(names)) == len(names)
    for path, method in OPERATIONS:
        told = operation(path, method)
        in_path = [p["name"] for p in told.get("parameters", []) if p["in"] == "path"]
        assert in_path == re.findall(r"\{(\w+)\}", path)
        assert set(told["tags"]) <= tags
        assert all(answer["description"] for answer in told["responses"].values())
        for choice in told["security"]:
            assert choice.keys() <= DOCUMENT["components"]["securitySchemes"].keys()
            assert {scope for scopes in choice.values() for scope in scopes} <= set(Scope)
    for node in nodes(DOCUMENT):
        if "$ref" in node:
            assert node["$ref"].removeprefix("#/components/schemas/") in SCHEMAS
    used = {node["$ref"].rpartition("/")[2] for node in nodes(DOCUMENT) if "$ref" in node}
    assert set(SCHEMAS) == used


def test_every_example_is_as_its_schema_tells():
    checked = 0
    for node in nodes(DOCUMENT):
        if "example" in node and "schema" in node:
            assert faults(node["example"], node["schema"]) == []
            checked += 1
    assert checked > 25


def test_the_shapes_have_the_fields_of_the_structs_and_the_words_of_the_closed_lists():
    for struct in STRUCTS:
        assert list(SCHEMAS[struct.__name__]["properties"]) == [f.name for f in msgspec.structs.fields(struct)]

    assert [SCHEMAS[kind.__name__]["enum"] for kind in (Verdict, Reason, Refusal)] == [
        list(Verdict),
        list(Reason),
        list(Refusal),
    ]
    assert set(VERDICTS) == set(Verdict)
    assert set(SCHEMAS["Scope"]["enum"]) == set(Scope)
    assert SCHEMAS["Event"]["properties"]["type"]["enum"] == list(EVENT_NAMES)
    assert set(SCHEMAS["Push"]["properties"]) >= set(IDENTIFY_NAMES)
    described = msgspec.json.encode(SCHEMAS).decode()
    assert [field.name for field in FIELDS if field.name not in described] == []


NAMED_BY_FILTERS = ("verdict", "reason", "channel_id", "event", "field", "from", "to", "since", "status")


def test_every_code_of_a_problem_in_the_source_is_documented_and_the_other_way():
    source = "".join(
        path.read_text("utf-8")
        for package in ("identity", "profiles")
        for path in sorted(Path(PROJECT, package).rglob("*.py"))
        # The inspector's pages tell their own problems to people, in words.
        if path.parent.name != "openapi"
        and path.name not in ("sessions.py", "visits.py")
        and not path.name.endswith("pages.py")
    )
    raised = set(re.findall(r"(?:Problem|problem_response)\(\s*\d{3},\s*\"(\w+)\"", source))
    raised |= set(re.findall(r"Invalid\(\s*\"(\w+)\"", source))
    raised |= {f"invalid_{name}" for name in re.findall(r"_wrong\(\"(\w+)\"", source)}
    # Made from the filter's name: read_choice, read_uuid, read_word and the bounds of time.
    raised |= {f"invalid_{name}" for name in NAMED_BY_FILTERS}

    assert raised == set(PROBLEMS)


def test_what_the_document_shows_to_be_sent_is_taken_and_answered_as_it_tells(server: Server):
    for path, method in OPERATIONS:
        told = operation(path, method)
        if method not in ("get", "post") or path == "/docs/openapi.json":
            continue
        address = re.sub(r"\{\w+\}", NOBODY, path)
        secret = told["security"] and any("secretKey" in choice for choice in told["security"])
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"} if secret else {}
        headers |= {} if path.startswith("/api/v1/admin") else {"X-Write-Key": WRITE_KEY, "X-App-Id": CHANNEL_ID}
        body = told["requestBody"]["content"]["application/json"]["example"] if "requestBody" in told else None
        params = {p["name"]: "nobody" for p in told.get("parameters", []) if p["in"] == "query" and p["required"]}

        answer = server.client.request(method, address, json=body, params=params, headers=headers)

        assert answered_as_told(told, answer) == []
        if body is not None and address == path:
            assert answer.status_code == 200


def test_real_customers_visitors_merges_and_refusals_are_as_the_document_tells(server: Server):
    server.authenticate({"visitor_id": "d-v", "customer_id": "d-1", "display_name": "Ana", "birth": "soon"})
    server.authenticate({"visitor_id": "d-v"})
    patch = [{"type": "set", "path": "firstName", "value": "Bo"}]
    server.events({"type": "userProfileChanged", "visitor_id": "d-anonymous", "patch": patch})
    merge_id = server.get("/api/v1/admin/merges").json()["items"][0]["merge_id"]

    answers = {
        "/api/v1/customers/{customer_id}": server.get("/api/v1/customers/d-1?include=provenance"),
        "/api/v1/customers": server.get("/api/v1/customers?customer_id=d-1"),
        "/api/v1/visitors/{visitor_id}": server.get("/api/v1/visitors/d-anonymous"),
        "/api/v1/admin/merges": server.get("/api/v1/admin/merges?limit=1"),
        "/api/v1/admin/merges/{merge_id}": server.get(f"/api/v1/admin/merges/{merge_id}"),
        "/api/v1/admin/refusals": server.get("/api/v1/admin/refusals?limit=1"),
    }

    for path, answer in answers.items():
        assert answer.status_code == 200
        assert answered_as_told(operation(path, "get"), answer) == []


def test_a_real_footprint_is_as_the_document_tells(server: Server):
    server.events({"type": "userSignedIn", "visitor_id": "d-walker", "userId": "d-2"})
    track = {"anonymousId": "d-walker", "event": "Order Completed", "properties": {"order_id": "o-1", "revenue": 25}}
    server.client.post("/v1/track", json={**track, "writeKey": WRITE_KEY})

    answers = {
        "/api/v1/customers/{customer_id}/footprint": server.get("/api/v1/customers/d-2/footprint"),
        "/api/v1/customers/{customer_id}/footprint/summary": server.get("/api/v1/customers/d-2/footprint/summary"),
        "/api/v1/visitors/{visitor_id}/footprint": server.get("/api/v1/visitors/d-walker/footprint"),
        "/api/v1/footprint": server.get("/api/v1/footprint?visitor_id=d-walker"),
        "/api/v1/footprint/summary": server.get("/api/v1/footprint/summary?customer_id=d-2"),
        "/api/v1/admin/workspace": server.get("/api/v1/admin/workspace"),
    }

    for path, answer in answers.items():
        assert answer.status_code == 200
        assert answered_as_told(operation(path, "get"), answer) == []
    assert len(answers["/api/v1/footprint"].json()["items"]) == 1
    assert answers["/api/v1/footprint/summary"].json()["revenue"] == [{"currency": None, "amount": 25.0, "orders": 1}]


def answered_as_told(told: dict[str, Any], answer: httpx.Response) -> list[str]:
    """Return where a real answer differs from what the document tells of it."""
    response = told["responses"].get(str(answer.status_code))
    if response is None:
        return [f"{answer.status_code} is not documented"]
    media_type = answer.headers["content-type"].partition(";")[0]
    if media_type not in response["content"]:
        return [f"{media_type} is not documented"]
    if "json" not in media_type:
        return []
    wrong = faults(answer.json(), response["content"][media_type]["schema"])
    if answer.status_code >= 400 and f"{answer.json().get('code')}: " not in response["description"] + ": ":
        wrong.append(f"{answer.json()} is not documented")
    return wrong


class _Page(HTMLParser):
    """What a page asks a browser to load, run or follow."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.ids: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.add(value)
            if name == "id" and value:
                self.ids.append(value)


def test_the_page_shows_every_call_and_needs_nothing_else(server: Server):
    response = server.client.get("/docs")

    page = _Page()
    page.feed(response.text)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert {operation(*call)["operationId"] for call in OPERATIONS} | set(SCHEMAS) == set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert page.links == {"/docs/openapi.json"} | {f"#{name}" for name in page.ids if f"#{name}" in page.links}
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= set(page.ids)
    assert not page.tags & {"script", "link", "img", "iframe", "form", "object", "base"}
    assert not {name for name in page.attributes if name.startswith("on") or name == "style"}
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", policy["style-src"])
    assert "url(" not in response.text
    assert 'name="viewport"' in response.text
    assert "prefers-color-scheme: dark" in response.text


def test_the_document_is_served_as_it_is(server: Server):
    response = server.client.get("/docs/openapi.json")

    assert (response.status_code, response.json()) == (200, DOCUMENT)
    assert server.client.get("/schema").status_code == 404


def test_hostile_text_in_the_document_stays_text():
    hostile = "<script>alert(1)</script>\"'&"
    described = document()
    described["info"]["description"] = hostile
    described["paths"]["/livez"]["get"]["summary"] = hostile
    described["components"]["schemas"][hostile] = {"enum": [hostile], "description": hostile}

    page = _Page()
    page.feed(render(described))

    assert "script" not in page.tags
    assert not {name for name in page.attributes if name.startswith("on")}
