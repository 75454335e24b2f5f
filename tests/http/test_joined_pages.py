"""What the inspector shows of customers who are one person by an admin's word."""

from tests.harness import Server
from tests.http.test_inspector import Inspector, said

AT = 1_790_000_000_000


def two_in_one(server: Server, name: str) -> tuple[str, str, str]:
    """Let A sign in on a browser, sign out, look around, and B sign in there; A is B."""
    one, other, visitor = f"{name}-a", f"{name}-b", f"{name}-v"
    told = {"visitor_id": visitor}
    server.events(
        {**told, "type": "clIdentity", "customer_id": one, "display_name": "Ana", "occurred_at": AT},
        {**told, "type": "userSignedOut", "occurred_at": AT + 1000},
        {
            **told,
            "type": "page_view",
            "props": {"page_path": "/p", "page_title": "P"},
            "occurred_at": AT + 2000,
        },
        {**told, "type": "clIdentity", "customer_id": other, "gender": "other", "occurred_at": AT + 3000},
    )
    joined = server.post(f"/api/v1/admin/customers/{one}/join", {"into": other, "reason": "one person"})
    assert joined.status_code == 200, joined.text
    return one, other, visitor


def test_the_time_between_two_ids_of_one_person_is_that_persons(server: Server):
    person = Inspector(server)
    _, other, visitor = two_in_one(server, "lanes")

    pages = [
        person.get(address).text
        for address in (
            f"/customer/timeline?customer_id={other}",
            f"/customer/graph?customer_id={other}",
            f"/visitor?visitor_id={visitor}",
        )
    ]

    for page in pages:
        drawing = page.partition("<svg")[2].partition("</svg>")[0]
        assert "contested" not in drawing
        assert "switched" not in drawing


def test_the_preview_of_an_undo_shows_what_goes_of_whom_the_customer_is_joined_into(server: Server):
    person = Inspector(server)
    one, other, _ = two_in_one(server, "also")
    merge_id = server.get(f"/api/v1/admin/merges?customer_id={one}").json()["items"][-1]["merge_id"]

    preview = said(person.post("/merge", action="preview", merge_id=merge_id))

    assert f"What was joined goes as well, in the profile of {other}" in preview
    assert preview.count("display_name") >= 2
    assert "Nothing would be left of this customer" not in preview
