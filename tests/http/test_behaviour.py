"""Behaviour events through ``POST /api/v1/events``, as Crescendo's and Croct's pages send them, and their footprint."""

from typing import Any

import pytest

from tests.harness import WRITE_KEY, Server

ACCEPTED = {"status": "accepted"}
TEE = {"item_id": "SKU_1", "item_name": "Cotton tee", "price": 490, "quantity": 1}


def recorded(name: str, visitor: str, props: dict[str, object], **more: object) -> dict[str, object]:
    """Return what a page's ``record(name, {props})`` sends."""
    return {"event": name, "visitor_id": visitor, "props": props, **more}


def footprint(server: Server, visitor: str) -> list[Any]:
    answer = server.get(f"/api/v1/visitors/{visitor}/footprint")
    return answer.json()["items"] if answer.status_code == 200 else []


def test_what_both_catalogues_record_is_the_visitors_footprint(server: Server):
    sent = server.events(
        recorded("page_view", "both", {"page_path": "/products/tee", "page_title": "Cotton tee"}, occurred_at=1),
        recorded("add_to_cart", "both", {"currency": "TWD", "items": [TEE]}),
        {
            "type": "productViewed",
            "visitor_id": "both",
            "product": {"productId": "1", "name": "Tee", "displayPrice": 4.9},
        },
    )

    assert sent.json()["results"] == [ACCEPTED] * 3
    assert sorted((item["type"], item["label"]) for item in footprint(server, "both")) == [
        ("add_to_cart", None),
        ("page_view", "Cotton tee"),
        ("productViewed", None),
    ]


@pytest.mark.parametrize(
    ("name", "props", "errors"),
    [
        ("add_to_cart", {"items": []}, [("/props/items", "empty")]),
        ("add_to_cart", {"items": [{**TEE, "price": "490"}]}, [("/props/items/0/price", "number_as_text")]),
        ("remove_from_cart", {"items": [TEE, {}]}, [
            (f"/props/items/1/{field}", "missing") for field in ("item_id", "item_name", "price", "quantity")
        ]),
        ("purchase", {"items": [TEE]}, [("/props/transaction_id", "missing"), ("/props/revenue", "missing")]),
        ("purchase", {"transaction_id": "T", "revenue": "980", "items": [TEE]}, [("/props/revenue", "number_as_text")]),
        ("page_view", {"page_path": "/"}, [("/props/page_title", "missing")]),
    ],
)  # fmt: skip
def test_each_common_error_is_rejected_with_its_place_and_listed_for_the_admin(
    server: Server, name: str, props: dict[str, object], errors: list[tuple[str, str]]
):
    visitor = f"common-{name}-{len(errors)}-{errors[0][1]}"

    (result,) = server.events(recorded(name, visitor, props)).json()["results"]

    assert result["status"] == "rejected"
    assert sorted((error["path"], error["code"]) for error in result["errors"]) == sorted(errors)
    assert all(error["hint"] for error in result["errors"])
    (refused,) = [
        item
        for item in server.get("/api/v1/admin/refusals?reason=invalid_event").json()["items"]
        if item["visitor_id"] == visitor
    ]
    assert refused["event"] == name
    assert sorted((fault["path"], fault["code"]) for fault in refused["faults"]) == sorted(errors)
    assert footprint(server, visitor) == []


def test_a_wrong_optional_value_is_left_out_and_said_in_the_footprint_alone(server: Server):
    event = recorded("add_to_cart", "optional", {"currency": 5, "items": [{**TEE, "discount": "much"}]})

    sent = server.events(event)

    assert sent.json()["results"] == [ACCEPTED]
    (item,) = footprint(server, "optional")
    assert item["props"] == {"items": [TEE]}
    assert sorted((remark["path"], remark["code"]) for remark in item["remarks"]) == [
        ("/props/currency", "wrong_type"),
        ("/props/items/0/discount", "number_as_text"),
    ]


def test_validation_tells_errors_and_what_would_be_left_out_and_stores_nothing(server: Server):
    wrong = recorded("purchase", "asked", {"transaction_id": "A-1", "revenue": 5, "items": []})
    partly = recorded("add_to_cart", "asked", {"currency": 5, "items": [TEE]})

    answer = server.client.post(
        "/api/v1/validate/events", json={"events": [wrong, partly]}, headers={"X-Write-Key": WRITE_KEY}
    )

    told = answer.json()["results"]
    assert [result["accepted"] for result in told] == [False, True]
    assert [error["path"] for error in told[0]["errors"]] == ["/props/items"]
    assert [error["path"] for error in told[1]["left_out"]] == ["/props/currency"]
    assert footprint(server, "asked") == []


def test_a_retry_is_stored_once_and_a_purchase_once_whoever_tells_it(server: Server):
    view = recorded("page_view", "retry", {"page_path": "/", "page_title": "Home"}, event_id="e-1")
    bought = {"transaction_id": "ORDER_1", "revenue": 980, "currency": "TWD", "items": [TEE]}

    first = server.events(view, view, recorded("purchase", "retry", bought))
    again = server.events(view, recorded("purchase", "other-device", bought, event_id="e-2"))

    assert first.json()["results"] == [ACCEPTED] * 3
    assert again.json()["results"] == [ACCEPTED] * 2
    assert sorted(item["type"] for item in footprint(server, "retry")) == ["page_view", "purchase"]
    assert footprint(server, "other-device") == []
