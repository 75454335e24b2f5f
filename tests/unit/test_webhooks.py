"""Webhooks without any server: addresses, signatures, pauses."""

import asyncio
import ipaddress
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook as Verifier

from identity.changes import ChangeType, types_of
from identity.webhooks.message import (
    RETRY_DAYS_MAX,
    RETRY_SECONDS_MAX,
    Secret,
    is_hopeless,
    make_secret,
    pause_milliseconds,
    rotated,
    signed_headers,
)
from identity.webhooks.sending import Fault, Sender, WrongUrlError, check_url, is_public
from profiles.profile import Act, Link

NOW = int(datetime.now(UTC).timestamp() * 1000)
OLD, NEW = make_secret(b"1" * 32), make_secret(b"2" * 32)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "100.100.100.200", "192.0.0.192", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
        "255.255.255.255", "168.63.129.16", "::", "::1", "fe80::1", "fe80::1%lo", "fc00::1", "fd00:ec2::254", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1", "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "fec0::1",
        "::7f00:1",
    ],
)  # fmt: skip
def test_an_address_inside_is_not_public(address: str):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_an_address_of_the_internet_is_public(address: str):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/", "ftp://hooks.example/", "hooks.example", "https://", "https:///x", "https://u@hooks.example/",
        "https://u:p@hooks.example/", "https://hooks.example/#x", "https://hooks.example:0/", "https://hooks.example:x/",
        "https://hooks.example:99999/", "https://hoöks.example/", "https://hooks.example/ x", "https://hooks.example/\n",
        "https://[::1", "https://hooks.example/" + "x" * 500, "javascript:alert(1)", "",
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_webhook_is_refused(url: str):
    with pytest.raises(WrongUrlError):
        check_url(url, allow_private=False)


def test_without_encryption_it_may_go_only_where_private_addresses_are_allowed():
    check_url("http://hooks.example/x", allow_private=True)
    check_url("https://hooks.example:8443/x?y=z", allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://2130706433/", "https://0x7f000001/", "https://127.1/", "https://[::1]/",
        "https://[::ffff:127.0.0.1]/", "https://localhost/", "https://169.254.169.254/latest/meta-data/",
    ],
)  # fmt: skip
def test_however_a_private_address_is_written_nothing_is_sent_there(url: str):
    async def main() -> Fault | None:
        sender = Sender(url, allow_private=False)
        try:
            return (await sender.post(b"{}", {})).fault
        finally:
            await sender.close()

    assert asyncio.run(main()) is Fault.REFUSED_ADDRESS


def test_a_name_with_one_private_address_among_its_addresses_is_refused():
    async def resolve(host: str, port: int) -> list[str]:
        return ["1.1.1.1", "10.0.0.1"]

    async def main() -> Fault | None:
        sender = Sender("https://hooks.example/", allow_private=False, resolve=resolve)
        try:
            return await sender.check()
        finally:
            await sender.close()

    assert asyncio.run(main()) is Fault.REFUSED_ADDRESS


def test_a_message_is_signed_so_that_the_library_verifies_it():
    headers = signed_headers("m-1", b'{"a":"\xc3\xa9"}', (Secret(NEW),), time.time_ns() // 1_000_000)

    assert Verifier(NEW).verify(b'{"a":"\xc3\xa9"}', headers) == {"a": "é"}
    assert headers["webhook-id"] == "m-1"


def test_while_a_secret_is_changed_over_both_verify_and_afterwards_the_new_one_alone():
    held = rotated((Secret(OLD), Secret("whsec_older", 5)), NEW, NOW)
    during = signed_headers("m-1", b"{}", held, NOW)["webhook-signature"].split()
    after = signed_headers("m-1", b"{}", held, NOW + 25 * 3_600_000)["webhook-signature"].split()

    assert [secret.secret for secret in held] == [NEW, OLD]
    stamp = datetime.fromtimestamp(NOW // 1000, UTC)
    assert during == [Verifier(secret).sign("m-1", stamp, "{}") for secret in (NEW, OLD)]
    assert len(after) == 1


def test_pauses_double_up_to_the_longest_and_are_spread():
    pauses = [pause_milliseconds(attempts, 1.0) for attempts in range(1, 40)]

    assert pauses[:4] == [5_000, 10_000, 20_000, 40_000]
    assert pauses == sorted(pauses)
    assert pauses[-1] == RETRY_SECONDS_MAX * 1000
    assert pause_milliseconds(1, 0.0) == 2_500


def test_a_webhook_is_given_up_after_days_of_failing():
    days = RETRY_DAYS_MAX * 86_400_000

    assert [is_hopeless(NOW, NOW + days - 1), is_hopeless(NOW, NOW + days)] == [False, True]


@pytest.mark.parametrize(
    ("created", "act", "link", "has_fields", "types"),
    [
        (True, None, Link.LINKED, True, [ChangeType.CREATED, ChangeType.LINKED]),
        (False, None, None, True, [ChangeType.UPDATED]),
        (False, None, Link.UNLINKED, False, [ChangeType.UNLINKED]),
        (False, None, None, False, []),
        (False, Act.UNDO, None, True, [ChangeType.UNDONE, ChangeType.UPDATED]),
        (False, Act.ABSORB, None, False, [ChangeType.JOINED]),
        (False, Act.RELEASE, None, False, [ChangeType.UNJOINED]),
        (False, Act.LOCK, None, False, [ChangeType.LOCKED]),
    ],
)
def test_types_follow_from_the_row(
    created: bool, act: Act | None, link: Link | None, has_fields: bool, types: list[ChangeType]
):
    assert types_of(created=created, act=act, link=link, has_fields=has_fields) == types


def test_every_act_has_its_type():
    assert [types_of(created=False, act=act, link=None, has_fields=False) == [] for act in Act] == [False] * len(Act)
