"""Thousands of ledger rows and profiles in one transaction: the rows of ``profiles.store``, written by COPY."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from profiles.database import Database
from profiles.pipeline import Command, Copy, copied
from profiles.profile import Merge, Profile
from profiles.store import CustomerRow, Key, MergeRow, Spreads, customer_row, merge_row, saving_profiles

_json = msgspec.json.Encoder()


def copying(spreads: Spreads, merges: Iterable[tuple[int, Merge]], customers: Mapping[Key, Profile]) -> list[Copy]:
    """Return what to copy for these ledger rows, and for the profiles among theirs that are new, in that order."""
    ledger = sorted(merges, key=_ledger_key)
    new = sorted(key for key in {(w, m.customer_id) for w, m in ledger if m.version == 1} if key in customers)
    copies = [Copy("profiles", "copy_merges", [_merge_line(merge_row(spreads, *told)) for told in ledger])]
    if new:
        lines = [_customer_line(customer_row(spreads, key[0], customers[key])) for key in new]
        copies.append(Copy("profiles", "copy_customers", lines))
    return copies


def saving(
    database: Database,
    spreads: Spreads,
    merges: Sequence[tuple[int, Merge]],
    customers: Mapping[Key, Profile],
    hashes: Mapping[Key, str],
) -> list[Command]:
    """Return the commands that write the profiles that ``copying`` leaves out, since they are held already."""
    new = {(workspace_id, merge.customer_id) for workspace_id, merge in merges if merge.version == 1}
    held = {key: profile for key, profile in customers.items() if key not in new}
    return saving_profiles(database, spreads, merges, held, hashes)


def _ledger_key(told: tuple[int, Merge]) -> tuple[int, str, int]:
    return told[0], told[1].customer_id, told[1].version


def _merge_line(row: MergeRow) -> str:
    assert row.act is None, "acts come one at a time"
    return (
        f"{row.bucket}\t{row.workspace_id}\t{copied(row.customer_id)}\t{row.version}\t{row.merge_id}\t{row.is_link:d}\t"
        f"{row.created_customer:d}\t{row.skipped:d}\t{row.policy}\t{row.source}\t{copied(row.event)}\t"
        f"{copied(row.event_id)}\t{copied(row.visitor_id)}\t{copied(row.channel_id)}\t{row.occurred_at}\t"
        f"{row.received_at}\t{copied(row.digest)}\t{copied(_json.encode(row.decisions).decode())}\t{row.rules}\t"
        f"{copied(row.other_id)}\t{copied(row.actor)}\t{copied(row.note)}\t"
        f"{copied(row.operation_id)}\t{copied(row.link)}\n"
    )


def _customer_line(row: CustomerRow) -> str:
    return (
        f"{row.bucket}\t{row.workspace_id}\t{copied(row.customer_id)}\t{row.version}\t{row.created_at}\t"
        f"{row.updated_at}\t{copied(_json.encode(row.fields).decode())}\t{copied(row.digest)}\t{copied(row.email_key)}\t"
        f"{copied(row.alternate_email_key)}\t{copied(row.mobile_key)}\t{copied(row.alternate_mobile_key)}\t"
        f"{row.is_gone:d}\n"
    )
