"""``identity verify``: nothing to report of a store that only the service wrote, and every tampering is reported."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import psycopg
import pytest

from identity.parse import read_events
from identity.verify import EXPLANATIONS, Difference, Found, Report, UnknownWorkspace, verify
from tests.harness import WRITE_KEY, Urls, opened_service

NOW = 1_750_000_000_000
"""2025-06-15, when the events of these tests arrive."""

HISTORY: Sequence[dict[str, object]] = (
    {"type": "userSignedUp", "userId": "42", "profile": {"email": "Ana@shop.example", "custom": {"points": 1}}},
    {"type": "clIdentity", "visitor_id": "v1", "customerId": "42", "name": "Ana", "phone": "+886912345678"},
    {"type": "clIdentity", "visitor_id": "v1", "customerId": "42", "name": "Ana Lin", "phone": "0912345678"},
    {"type": "userSignedIn", "visitor_id": "v2", "userId": "42"},
    {"type": "userSignedIn", "visitor_id": "v2", "userId": "43"},
    {"type": "userProfileChanged", "visitor_id": "v3", "patch": [{"type": "set", "path": "firstName", "value": "Bo"}]},
    {"type": "userSignedIn", "visitor_id": "v3", "userId": "44"},
    {"type": "userSignedOut", "visitor_id": "v1"},
    {"type": "userProfileChanged", "visitor_id": "v1", "patch": [{"type": "set", "path": "lastName", "value": "Lin"}]},
)
"""A small history. Customer 42 ends at version 6: the sign-up, two merges, v2 coming, v2 leaving, v1 leaving."""


def test_a_store_that_only_the_service_wrote_verifies_to_zero(urls: Urls, store_url: str):
    write(urls, store_url, HISTORY)

    report = verify(store_url)

    assert report == Report(
        Counter({"customers": 3, "merges": 9, "visitors": 3, "facts": 7, "pairs": 4}), Counter(), []
    )


@pytest.mark.parametrize("spread", [1, 4096])
def test_a_busy_random_history_verifies_to_zero_wherever_its_rows_lie(urls: Urls, store_url: str, spread: int):
    execute(store_url, "UPDATE workspace SET spread = %s", spread)
    chance = random.Random(20260601)
    for start in range(0, 2000, 100):
        write(urls, store_url, [random_event(chance) for _ in range(100)], received_at=NOW + 1000 * start)

    report = verify(store_url)

    assert (report.differences, report.shown) == (Counter(), [])
    assert report.checked["merges"] > 500
    assert report.checked["facts"] > 500


def test_live_traffic_gives_no_false_alarm(urls: Urls, store_url: str):
    chance = random.Random(20260602)
    reports: list[Report] = []
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write, urls, store_url, [random_event(chance) for _ in range(900)])

        while not writing.done():
            reports.append(verify(store_url))

        writing.result()
    assert [report.shown for report in reports] == [[]] * len(reports)
    assert any(report.checked["merges"] for report in reports)


TAMPERINGS: dict[str, tuple[str, dict[Difference, int]]] = {
    "a held value is changed": (
        """UPDATE customer SET fields = jsonb_set(fields, '{display_name,0}', '"Eve"') WHERE customer_id = '42'""",
        {Difference.CUSTOMER: 1},
    ),
    "a held value becomes one that no reader passes": (
        """UPDATE customer SET fields = jsonb_set(fields, '{display_mobile,0}', '"0912"') WHERE customer_id = '42'""",
        {Difference.CUSTOMER: 1, Difference.VALUE: 1},
    ),
    "a held number becomes a boolean that Python calls equal": (
        """UPDATE customer SET fields = jsonb_set(fields, '{custom.points,0}', 'true') WHERE customer_id = '42'""",
        {Difference.CUSTOMER: 1},
    ),
    "a field is removed": (
        "UPDATE customer SET fields = fields - 'display_name' WHERE customer_id = '42'",
        {Difference.CUSTOMER: 1},
    ),
    "the key that an e-mail is looked up by is changed": (
        "UPDATE customer SET email_key = 'eve@shop.example' WHERE customer_id = '42'",
        {Difference.CUSTOMER: 1},
    ),
    "the digest of the last push is changed": (
        "UPDATE customer SET digest = 'stale' WHERE customer_id = '42'",
        {Difference.CUSTOMER: 1},
    ),
    "a profile's time is changed": (
        "UPDATE customer SET updated_at = updated_at + interval '1 ms' WHERE customer_id = '42'",
        {Difference.CUSTOMER: 1},
    ),
    "a profile falls behind its ledger": (
        "UPDATE customer SET version = version - 1 WHERE customer_id = '42'",
        {Difference.CUSTOMER: 1},
    ),
    "a profile holds junk": (
        """UPDATE customer SET fields = '"junk"' WHERE customer_id = '42'""",
        {Difference.UNREADABLE: 1},
    ),
    "a customer's row is lost": (
        "DELETE FROM customer WHERE customer_id = '42'",
        {Difference.CUSTOMER_MISSING: 1},
    ),
    "a customer comes from nowhere": (
        """INSERT INTO customer SELECT bucket, workspace_id, '99', 1, created_at, updated_at, '{}'
           FROM customer WHERE customer_id = '42'""",
        {Difference.CUSTOMER_ORPHAN: 1},
    ),
    "the newest row of a ledger is lost, and with it a sign-out's trace": (
        "DELETE FROM merge WHERE customer_id = '42' AND version = 6",
        {Difference.CUSTOMER: 1, Difference.LINK_MISSING: 1},
    ),
    "a row within a ledger is lost": (
        "DELETE FROM merge WHERE customer_id = '42' AND version = 3",
        {Difference.LEDGER_GAP: 1},
    ),
    "the first row of a ledger is lost": (
        "DELETE FROM merge WHERE customer_id = '42' AND version = 1",
        {Difference.LEDGER_GAP: 1},
    ),
    "the only row of a ledger is lost, and with it an identification's trace": (
        "DELETE FROM merge WHERE customer_id = '43'",
        {Difference.CUSTOMER_ORPHAN: 1, Difference.LINK_MISSING: 1},
    ),
    "a ledger has a version twice": (
        """INSERT INTO merge SELECT bucket + 1, workspace_id, customer_id, version, merge_id, is_link, created_customer,
                  skipped, policy, source, event, event_id, visitor_id, channel_id, occurred_at, received_at, digest,
                  decisions
           FROM merge WHERE customer_id = '42' AND version = 1""",
        {Difference.BUCKET: 1, Difference.LEDGER_GAP: 1},
    ),
    "a decision's verdict is changed": (
        """UPDATE merge SET decisions = jsonb_set(decisions, '{0,1}', '"unchanged"')
           WHERE customer_id = '42' AND version = 2""",
        {
            Difference.DECISIONS: 1,
        },
    ),
    "a decision's value is changed": (
        """UPDATE merge SET decisions = jsonb_set(decisions, '{0,4}', '"Eve"')
           WHERE customer_id = '42' AND version = 3""",
        {Difference.CUSTOMER: 1},
    ),
    "a ledger row holds junk": (
        "UPDATE merge SET policy = 'junk' WHERE customer_id = '42' AND version = 2",
        {Difference.UNREADABLE: 1},
    ),
    "a ledger row claims to have created the customer": (
        "UPDATE merge SET created_customer = true WHERE customer_id = '42' AND version = 3",
        {Difference.MERGE: 1},
    ),
    "the mark by which admins find skipped values is lost": (
        "UPDATE merge SET skipped = false WHERE customer_id = '42' AND version = 3",
        {Difference.MERGE: 1},
    ),
    "a ledger row no longer says that it tells of links alone": (
        "UPDATE merge SET is_link = false WHERE customer_id = '42' AND version = 4",
        {Difference.MERGE: 1},
    ),
    "a ledger tells of a link by another visitor": (
        "UPDATE merge SET visitor_id = 'v3' WHERE customer_id = '42' AND version = 4",
        {Difference.LINK_MISSING: 1, Difference.LINK_ORPHAN: 1},
    ),
    "a ledger tells of a link by a visitor of whom nothing is known": (
        "UPDATE merge SET visitor_id = 'v99' WHERE customer_id = '42' AND version = 4",
        {Difference.LINK_MISSING: 1, Difference.LINK_ORPHAN: 1},
    ),
    "a visitor is given to another customer": (
        "UPDATE visitor SET customer_id = '44' WHERE visitor_id = 'v2'",
        {Difference.VISITOR: 1},
    ),
    "an anonymous value is changed": (
        """UPDATE visitor SET anonymous = jsonb_set(anonymous, '{last_name,0}', '"Eve"') WHERE visitor_id = 'v1'""",
        {Difference.VISITOR: 1},
    ),
    "a visitor's row is lost": (
        "DELETE FROM visitor WHERE visitor_id = 'v2'",
        {Difference.VISITOR_MISSING: 1},
    ),
    "a visitor comes from nowhere": (
        """INSERT INTO visitor SELECT bucket, workspace_id, 'v99', 1, NULL, NULL, NULL, NULL, '{}'
           FROM visitor WHERE visitor_id = 'v1'""",
        {Difference.VISITOR_ORPHAN: 1},
    ),
    "a sign-out is lost": (
        "DELETE FROM visitor_fact WHERE visitor_id = 'v1' AND kind = 'signed_out'",
        {Difference.FACT_GAP: 1, Difference.VISITOR: 1, Difference.PAIR: 1, Difference.LINK_ORPHAN: 1},
    ),
    "the log of a visitor is lost": (
        "DELETE FROM visitor_fact WHERE visitor_id = 'v2'",
        {Difference.VISITOR_ORPHAN: 1, Difference.PAIR_ORPHAN: 2, Difference.LINK_ORPHAN: 2},
    ),
    "an identification names another customer": (
        "UPDATE visitor_fact SET customer_id = '44' WHERE visitor_id = 'v2' AND version = 2",
        {Difference.VISITOR: 1, Difference.PAIR_MISSING: 1, Difference.PAIR_ORPHAN: 1, Difference.LINK_MISSING: 1},
    ),
    "what an anonymous visitor's value did is changed": (
        """UPDATE visitor_fact SET decisions = jsonb_set(decisions, '{0,1}', '"overwrote"')
           WHERE visitor_id = 'v3' AND version = 1""",
        {Difference.FACT: 1},
    ),
    "a visitor that left is called current": (
        "UPDATE customer_visitor SET is_current = true WHERE customer_id = '42' AND visitor_id = 'v2'",
        {Difference.PAIR: 1},
    ),
    "a current visitor is called gone": (
        "UPDATE customer_visitor SET is_current = false WHERE customer_id = '43' AND visitor_id = 'v2'",
        {Difference.PAIR: 1},
    ),
    "the time of a link is changed": (
        "UPDATE customer_visitor SET linked_at = linked_at + interval '1 s' WHERE visitor_id = 'v3'",
        {Difference.PAIR: 1},
    ),
    "a customer loses a visitor": (
        "DELETE FROM customer_visitor WHERE customer_id = '43'",
        {Difference.PAIR_MISSING: 1},
    ),
    "a customer gets a visitor who never was that customer": (
        """INSERT INTO customer_visitor SELECT bucket, workspace_id, '44', 'v1', linked_at, false
           FROM customer_visitor WHERE visitor_id = 'v3'""",
        {Difference.PAIR_ORPHAN: 1},
    ),
    "a profile is moved to a bucket where nobody looks": (
        "UPDATE customer SET bucket = (bucket + 1) % 4096 WHERE customer_id = '42'",
        {Difference.BUCKET: 1},
    ),
    "a customer is held again who was erased": (
        """WITH known AS (UPDATE store SET erasure_key = decode(repeat('2a', 32), 'hex') RETURNING store_id)
           INSERT INTO erasure (bucket, workspace_id, customer_hash, erasure_id, version, actor, erased_at, receipt)
           SELECT c.bucket, c.workspace_id, '51a9719fcabc3ee0a40fb1ade784c13b' || '5d6e2717996a35e885e90fc9ed8a91b8',
                  gen_random_uuid(), 1, 'cli', c.created_at, '{}'
           FROM customer AS c, known WHERE c.customer_id = '44'""",
        {Difference.ERASED_HELD: 1},
    ),
    "a pair is moved to a bucket where nobody looks": (
        "UPDATE customer_visitor SET bucket = (bucket + 1) % 4096 WHERE customer_id = '43'",
        {Difference.PAIR_MISSING: 1, Difference.BUCKET: 1},
    ),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_every_tampering_is_reported_and_nothing_else(urls: Urls, store_url: str, tampering: str):
    write(urls, store_url, HISTORY)
    statement, expected = TAMPERINGS[tampering]
    assert execute(store_url, statement) == 1 or "log of a visitor" in tampering

    report = verify(store_url)

    assert dict(report.differences) == expected
    assert Counter(found.kind for found in report.shown) == Counter(expected)


def test_a_difference_tells_whose_row_it_is_and_which_parts_differ(urls: Urls, store_url: str):
    write(urls, store_url, HISTORY)
    execute(store_url, TAMPERINGS["a held value is changed"][0])
    with psycopg.connect(store_url) as connection:
        row = connection.execute("SELECT bucket FROM customer WHERE customer_id = '42'").fetchone()
    assert row is not None

    report = verify(store_url)

    parts = ("fields", "display_name")
    assert report.shown == [Found(Difference.CUSTOMER, "main", row[0], 6, parts, customer_id="42")]


def test_all_differences_are_counted_and_the_first_are_shown(urls: Urls, store_url: str):
    write(urls, store_url, HISTORY)
    execute(store_url, "UPDATE customer SET digest = 'stale'")

    report = verify(store_url, shown_max=2)

    assert (report.differences[Difference.CUSTOMER], len(report.shown)) == (3, 2)


def test_one_workspace_alone_is_verified(urls: Urls, store_url: str):
    write(urls, store_url, HISTORY)
    execute(store_url, "INSERT INTO workspace (workspace_id, slug, created_at) VALUES (2, 'other', '2026-01-01')")
    execute(store_url, "UPDATE customer SET digest = 'stale' WHERE customer_id = '42'")

    reports = [verify(store_url, slug="other"), verify(store_url, slug="main")]

    assert [report.differences.total() for report in reports] == [0, 1]


def test_an_unknown_workspace_is_an_error(store_url: str):
    with pytest.raises(UnknownWorkspace):
        verify(store_url, slug="nobody")


def test_every_kind_of_difference_is_explained_and_has_its_tampering():
    planted = {kind for _, kinds in TAMPERINGS.values() for kind in kinds}

    assert set(EXPLANATIONS) == set(Difference) == planted


def random_event(chance: random.Random) -> dict[str, object]:
    """Return any of the five events, in any order of time, of few visitors and customers."""
    event: dict[str, object] = {"visitor_id": f"v{chance.randrange(30)}"}
    if chance.random() < 0.7:
        event["occurred_at"] = NOW - chance.randrange(100_000)
    if chance.random() < 0.1:
        event["occurred_at"] = "yesterday"
    if chance.random() < 0.1:
        event["event_id"] = f"e{chance.randrange(50)}"
    customer = f"c{chance.randrange(20)}"
    custom = {"n": chance.choice([1e15, True, 1, -0.0, 0.1, 5e-324, [1, {"b": 1, "aa": 2.0}]])}
    value = chance.choice(["ana@shop.example", "Bo", "", 7, custom])
    name, phone = chance.choice(["Ana", "Bo", "", 7]), chance.choice(["+886912345678", "+1 999", "0912", None])
    patch = [
        {"type": chance.choice(["set", "unset"]), "path": path, "value": value}
        for path in chance.sample(["firstName", "email", "custom", "custom.n", "address.city", "."], 2)
    ]
    return event | chance.choice(
        [
            {"type": "clIdentity", "customerId": customer, "name": name, "phone": phone},
            {"type": "clIdentity", "customerId": customer, "email": "Ana@Shop.example", "visitor_id": None},
            {"type": "userSignedUp", "userId": customer, "profile": {"firstName": "Ana", "custom": custom}},
            {"type": "userSignedIn", "userId": customer},
            {"type": "userSignedOut"},
            {"type": "userSignedOut", "userId": customer},
            {"type": "userProfileChanged", "patch": patch},
        ]
    )


def write(urls: Urls, store_url: str, events: Iterable[dict[str, object]], *, received_at: int = NOW) -> None:
    """Send the events through the service, three to a request, one request after another, one second apart."""

    async def main() -> None:
        async with opened_service(store_url, urls.redis) as service:
            channel = service.channels.find(WRITE_KEY)
            assert channel is not None
            sent = [msgspec.Raw(msgspec.json.encode(event)) for event in events]
            read = [read_events([item], channel.sender, received_at + 1000 * n)[0] for n, item in enumerate(sent)]
            for start in range(0, len(read), 3):
                await service.intake.submit(read[start : start + 3])

    asyncio.run(main())


def execute(store_url: str, statement: str, *values: object) -> int:
    """Run one statement and return how many rows it touched."""
    with psycopg.connect(store_url, autocommit=True) as connection:
        return connection.execute(statement.encode(), values or None).rowcount
