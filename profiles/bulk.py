"""Thousands of ledger rows and profiles in one transaction: the rows of ``profiles.store``, written by COPY."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec

from profiles.clock import to_text
from profiles.database import Database
from profiles.fields import RULES_VERSION
from profiles.pipeline import Command, Copy, copied
from profiles.profile import Merge, Profile
from profiles.store import Key, Spreads, has_skipped, lookup_keys, saving_profiles

_json = msgspec.json.Encoder()


def copying(spreads: Spreads, merges: Iterable[tuple[int, Merge]], customers: Mapping[Key, Profile]) -> list[Copy]:
    """Return what to copy for these ledger rows, and for the profiles among theirs that are new, in that order."""
    ledger = sorted(merges, key=_ledger_key)
    new = sorted(key for key in {(w, m.customer_id) for w, m in ledger if m.version == 1} if key in customers)
    copies = [Copy("profiles", "copy_merges", [_merge_line(spreads, *told) for told in ledger])]
    if new:
        lines = [_customer_line(spreads, key[0], customers[key]) for key in new]
        copies.append(Copy("profiles", "copy_customers", lines))
    return copies


def saving(
    database: Database,
    spreads: Spreads,
    merges: Sequence[tuple[int, Merge]],
    customers: Mapping[Key, Profile],
    hashes: Mapping[Key, str],
) -> Iterator[Command]:
    """Give the commands that write the profiles that ``copying`` leaves out, since they are held already."""
    new = {(workspace_id, merge.customer_id) for workspace_id, merge in merges if merge.version == 1}
    held = {key: profile for key, profile in customers.items() if key not in new}
    yield from saving_profiles(database, spreads, merges, held, hashes)


def _ledger_key(told: tuple[int, Merge]) -> tuple[int, str, int]:
    return told[0], told[1].customer_id, told[1].version


def _merge_line(spreads: Spreads, workspace_id: int, merge: Merge) -> str:
    assert merge.act is None, "acts come one at a time"
    kind = _columns(merge.policy, merge.source, merge.event, merge.event_id, merge.visitor_id, merge.channel_id)
    cause = _columns(merge.other_id, merge.actor, merge.note, merge.operation_id, merge.link)
    return (
        f"{spreads.bucket(workspace_id, merge.customer_id)}\t{workspace_id}\t{copied(merge.customer_id)}\t"
        f"{merge.version}\t{merge.merge_id}\t{merge.is_link:d}\t{merge.created_customer:d}\t{has_skipped(merge):d}\t"
        f"{kind}\t{_time(merge.occurred_at)}\t{_time(merge.received_at)}\t{copied(merge.digest)}\t"
        f"{copied(_json.encode(merge.decisions).decode())}\t{RULES_VERSION}\t{cause}\n"
    )


# Thousands of rows of one batch have these in common.
_time = lru_cache(maxsize=1024)(to_text)


@lru_cache(maxsize=64)
def _columns(*values: str | None) -> str:
    return "\t".join(map(copied, values))


def _customer_line(spreads: Spreads, workspace_id: int, profile: Profile) -> str:
    keys = lookup_keys(profile.fields)
    return (
        f"{spreads.bucket(workspace_id, profile.customer_id)}\t{workspace_id}\t{copied(profile.customer_id)}\t"
        f"{profile.version}\t{_time(profile.created_at)}\t{_time(profile.updated_at)}\t"
        f"{copied(_json.encode(profile.fields).decode())}\t{copied(profile.digest)}\t{copied(keys.email)}\t"
        f"{copied(keys.alternate_email)}\t{copied(keys.mobile)}\t{copied(keys.alternate_mobile)}\t{profile.is_gone:d}\n"
    )
