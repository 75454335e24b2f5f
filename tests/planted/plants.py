"""Bugs to be planted: each is one small change of the product's own text, made while it is imported.

``PLANTED=name`` in the environment plants one: in this process (``tests.planted.plugin``) and, with
``tests/planted/site`` on PYTHONPATH, in every Python process below it, the service's workers too. A plant whose text is
not there exactly once does not fit any more and stops the run: the product has moved on, and the plant must follow.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

PROJECT = Path(__file__).resolve().parent.parent.parent
VARIABLE = "PLANTED"


class Plant(NamedTuple):
    """A bug: in this file, ``old`` becomes ``new``; ``caught_by`` is the check that must fail then."""

    name: str
    file: str
    old: str
    new: str
    caught_by: str


PLANTS = (
    Plant(
        "purchase_told_twice",
        "identity/resolve.py",
        "if purchase and (purchase in self.held.purchases or purchase in self.changes.purchases):",
        "if purchase and purchase in self.changes.purchases:",
        "tests/store/test_footprint.py::test_a_transaction_that_is_told_twice_is_stored_once_for_its_website_whoever_tells_it",
    ),
    Plant(
        "contested_time_given_away",
        "identity/belonging.py",
        "contested = before not in (None, following[at])",
        "contested = False",
        "tests/store/test_footprint.py::test_what_was_done_between_two_customers_is_contested_and_nobodys",
    ),
    Plant(
        "attempt_part_of_the_content",
        "identity/protocols/croct.py",
        "(client_id, bytes(moment), bytes(tab), bytes(payload))",
        "(client_id, bytes(beacon.get('departureTime', _NULL)), bytes(tab), bytes(payload))",
        "tests/unit/test_croct.py::test_another_attempt_at_the_same_event_has_the_same_id_whatever_the_token_says_by_now",
    ),
    Plant(
        "patch_half_applied",
        "identity/resolve.py",
        "            if isinstance(patched, PatchFailed):\n                return Refusal.FAILED_PATCH\n",
        "            if isinstance(patched, PatchFailed):\n                patched = ()\n",
        "tests/unit/test_resolve.py::test_one_failing_operation_voids_the_patch_of_a_customer_and_of_nobody",
    ),
    Plant(
        "ledger_key_dropped",
        "profiles/sql/migrations/0001_profiles.sql",
        "    PRIMARY KEY (workspace_id, customer_id, version, bucket),\n",
        "",
        "tests/store/test_sql.py::test_the_schema_keeps_the_rules_of_many_machines",
    ),
    Plant(
        "lost_race_ignored",
        "profiles/sql/migrations/0011_lost_race.sql",
        "RAISE EXCEPTION 'another writer was faster' USING ERRCODE = 'serialization_failure';",
        "RETURN held;",
        "tests/store/test_rules.py::test_two_first_pushes_of_one_customer_at_once_are_both_kept",
    ),
    Plant(
        "conflict_not_retried",
        "identity/intake.py",
        "is_missing or isinstance(error, Conflict) or is_retryable(error)",
        "is_missing or is_retryable(error)",
        "tests/store/test_rules.py::test_a_conflict_is_decided_anew_and_not_told_to_the_caller",
    ),
    Plant(
        "cache_not_fenced",
        "profiles/cache.py",
        "at > ARGV[1])) then return 0 end",
        "at > ARGV[1])) then end",
        "tests/store/test_rules.py::test_an_older_cache_write_never_replaces_a_newer_one",
    ),
    Plant(
        "cache_not_told",
        "identity/intake.py",
        "await self._tell_cache(events, held, changes, since)",
        "pass",
        "tests/store/test_rules.py::test_a_push_after_another_push_is_not_taken_for_unchanged",
    ),
    Plant(
        "workspace_forgotten_in_one_merge",
        "profiles/sql/find_merge.sql",
        "WHERE workspace_id = %(workspace_id)s AND merge_id",
        "WHERE merge_id",
        "tests/store/test_rules.py::test_no_admin_finds_a_merge_of_another_workspace",
    ),
    Plant(
        "workspace_forgotten_in_the_merges",
        "profiles/sql/list_merges.sql",
        "WHERE m.workspace_id = %(workspace_id)s\n  AND m.bucket",
        "WHERE m.bucket",
        "tests/store/test_rules.py::test_no_admin_lists_merges_of_another_workspace",
    ),
    Plant(
        "workspace_forgotten_in_the_emails",
        "profiles/sql/find_by_email.sql",
        "WHERE h.workspace_id = %(workspace_id)s AND h.email_key",
        "WHERE h.email_key",
        "tests/store/test_rules.py::test_no_email_finds_a_customer_of_another_workspace",
    ),
    Plant(
        "older_value_overwrites",
        "profiles/merge.py",
        "if held is not None and occurred_at < held.set_at:",
        "if held is not None and occurred_at < 0:",
        "tests/store/test_rules.py::test_a_late_event_does_not_overwrite_newer_data",
    ),
    Plant(
        "algorithm_by_the_tokens_word",
        "identity/tokens.py",
        "fitting = [key for key in named if key.algorithm is token.algorithm]",
        "fitting = [KeyInForce(token.algorithm, key.material.public_bytes(Encoding.PEM, "
        "PublicFormat.SubjectPublicKeyInfo)) if token.algorithm is Algorithm.HS256 "
        "and not isinstance(key.material, bytes) else key for key in named]",
        "tests/unit/test_tokens.py::test_a_token_cannot_choose_that_a_public_key_is_its_secret",
    ),
    Plant(
        "unsigned_event_overwrites",
        "identity/resolve.py",
        "return Policy.OVERWRITE if is_signed else unsigned_policy(event.sender)",
        "return Policy.OVERWRITE",
        "tests/unit/test_resolve.py::test_an_unsigned_patch_removes_nothing_and_a_signed_one_does",
    ),
    Plant(
        "unsigned_push_known_as_signed",
        "identity/resolve.py",
        "return digest + UNSIGNED_MARK if policy is Policy.UNSIGNED else digest",
        "return digest",
        "tests/unit/test_resolve.py::test_what_an_unsigned_push_could_not_do_the_same_push_does_once_it_is_signed",
    ),
    Plant(
        "empty_value_overwrites",
        "profiles/merge.py",
        "return Decision(field, Verdict.IGNORED_EMPTY, reason, old)",
        "return Decision(field, Verdict.UNSET, reason, old, old_version=old_version)",
        "tests/store/test_rules.py::test_an_empty_value_overwrites_nothing",
    ),
    Plant(
        "former_link_not_ended",
        "identity/resolve.py",
        "before.since or fact.occurred_at, is_current=False)",
        "before.since or fact.occurred_at, is_current=True)",
        "tests/store/test_rules.py::test_a_switch_ends_the_former_link",
    ),
    Plant(
        "keep_ignored",
        "identity/resolve.py",
        "if event.sender.on_sign_out is OnSignOut.KEEP or is_repeated:",
        "if is_repeated:",
        "tests/unit/test_resolve.py::test_a_channel_that_keeps_ignores_sign_outs",
    ),
    Plant(
        "digest_kept_after_a_loss",
        "profiles/merge.py",
        "elif any(d.verdict in lost and",
        "elif any(d.verdict is None and",
        "tests/store/test_rules.py::test_a_push_that_lost_is_looked_at_again_when_it_comes_again",
    ),
    Plant(
        "other_device_not_linked",
        "identity/resolve.py",
        "return is_known and (event.visitor_id is None or visitor_customer_id == event.customer)",
        "return is_known",
        "tests/store/test_rules.py::test_the_same_push_from_another_device_links_it",
    ),
    Plant(
        "default_region",
        "profiles/fields.py",
        "return Reason.NO_COUNTRY_CODE if _NATIONAL_SHAPE.fullmatch(text) else Reason.NOT_A_PHONE",
        'text = "+886" + text.lstrip("0")',
        "tests/unit/test_fields.py::test_a_phone_without_country_code_is_a_fault_and_the_rest_is_read",
    ),
    Plant(
        "acknowledged_before_commit",
        "identity/intake.py",
        "await (save or self._save)(connection, changes)",
        "asyncio.get_running_loop().call_later(0.3, lambda: asyncio.ensure_future("
        "self._database.run(lambda other: self._save(other, changes))))",
        "tests/store/test_rules.py::test_an_acknowledged_push_is_committed",
    ),
    Plant(
        "event_id_forgotten",
        "identity/resolve.py",
        "self.changes.seen[seen] = event.received_at",
        "pass",
        "tests/store/test_rules.py::test_a_repeated_event_changes_nothing",
    ),
    Plant(
        "revoked_key_accepted",
        "profiles/access.py",
        "if told == self.generation:",
        "if self.generation > 0:",
        "tests/store/test_rules.py::test_a_revoked_key_is_refused_by_every_worker_at_once",
    ),
    Plant(
        "nul_passes_the_reader",
        "profiles/fields.py",
        '_FORBIDDEN = re.compile("[\\x00-',
        '_FORBIDDEN = re.compile("[\\x01-',
        "tests/store/test_rules.py::test_a_nul_costs_its_field_and_nothing_else",
    ),
    Plant(
        "batch_not_halved",
        "identity/intake.py",
        "return await self._take(events[:middle]) + await self._take(events[middle:])",
        'return [Faulty("batch")] * (middle + len(events[middle:]))',
        "tests/store/test_rules.py::test_an_event_that_cannot_be_saved_harms_no_other",
    ),
    Plant(
        "two_stores_made_at_once",
        "profiles/migrate.py",
        """            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
            connection.execute(
                "INSERT INTO store (store_id, generation) SELECT %s, 1 WHERE NOT EXISTS (SELECT FROM store)", [store_id]
            )
""",
        """            connection.execute(
                "INSERT INTO store (store_id, generation) SELECT %s, 1 WHERE NOT EXISTS (SELECT FROM store)", [store_id]
            )
            time.sleep(0.5)
""",
        "tests/store/test_sql.py::test_four_processes_that_migrate_at_once_run_every_migration_once",
    ),
    Plant(
        "erased_customer_made_anew",
        "profiles/sql/save_customers.sql",
        "r.customer_hash IS NOT NULL AND r.previous_version = coalesce((",
        "r.customer_hash IS NOT NULL AND -2 <> coalesce((",
        "tests/store/test_erasure.py::test_a_worker_that_does_not_know_yet_that_anybody_was_erased_takes_nothing",
    ),
    Plant(
        "erased_while_decided",
        "profiles/sql/save_customers.sql",
        "AND h.version = r.previous_version\n           OFFSET 0\n       )",
        "AND h.version = r.previous_version\n           OFFSET 0\n       ) OR r.customer_hash IS NULL",
        "tests/store/test_erasure.py::"
        "test_an_event_that_was_under_way_brings_nothing_back[nothing written yet-the same push with another name]",
    ),
    Plant(
        "erased_visitor_saved",
        "identity/sql/save_visitors.sql",
        "CASE WHEN r.previous_version = 0 OR EXISTS (",
        "CASE WHEN r.previous_version >= 0 OR EXISTS (",
        "tests/store/test_erasure.py::"
        "test_values_of_a_signed_out_visitor_that_were_under_way_begin_a_visitor_of_their_own",
    ),
    Plant(
        "writers_not_waited_for",
        "identity/erasure.py",
        "            if oldest >= last:\n",
        "            if oldest:\n",
        "tests/store/test_erasure.py::"
        "test_an_event_beside_the_profile_that_was_under_way_leaves_nothing[rows written-a direct event]",
    ),
    Plant(
        "erased_time_inherited",
        "identity/belonging.py",
        "return _ERASED if point.is_erased else point.customer_id",
        "return point.customer_id",
        "tests/store/test_erasure.py::"
        "test_what_a_shared_visitor_did_in_the_customers_time_goes_and_is_nobodys_for_good",
    ),
    Plant(
        "refused_person_listed",
        "identity/resolve.py",
        "listed = without_person(event) if names_any(event, self.held.erased) else event",
        "listed = event",
        "tests/store/test_erasure.py::test_late_and_replayed_events_are_refused_and_leave_no_trace",
    ),
    Plant(
        "lifted_from_the_beginning",
        "identity/intake.py",
        "customers={**lifted, **held.customers}, erased=erased)",
        "erased=erased)",
        "tests/store/test_erasure.py::test_a_customer_whose_erasure_was_lifted_goes_on_behind_its_last_version",
    ),
    Plant(
        "prepared_statements_lost",
        "profiles/database.py",
        '"prepare_threshold": _NEVER if prepared else None',
        '"prepare_threshold": 2 if prepared else None',
        "tests/store/test_rules.py::test_a_change_that_is_taken_back_leaves_the_connection_fit_for_events",
    ),
    Plant(
        "damaged_name_breaks_the_body",
        "identity/tolerant.py",
        "{storable(name): _raw(member)",
        "{name: _raw(member)",
        "tests/http/test_fuzz.py::test_every_hostile_body_gets_a_protocol_answer[/api/v1/events]",
    ),
    Plant(
        "condition_compared_before_the_batch",
        "identity/resolve.py",
        "        is_there = held is not None and not held.is_gone\n        if event.creates:",
        "        held = self.held.customers.get((1, '42'))\n        is_there = True\n        if event.creates:",
        "tests/unit/test_crm_patches.py::test_of_two_changes_of_one_version_in_one_batch_the_second_is_not_made",
    ),
    Plant(
        "retry_done_again_while_it_is_worked_on",
        "profiles/sql/claim_request.sql",
        "(held.answer IS NULL AND held.claimed_at < %(lapsed)s::timestamptz AND",
        "(held.answer IS NULL AND",
        "tests/http/test_idempotency.py::test_a_claim_holds_for_a_minute_and_then_the_first_to_come_has_it",
    ),
    Plant(
        "another_request_taken_for_a_retry",
        "profiles/idempotency.py",
        'if fingerprint != claim.row["fingerprint"]:',
        'if len(fingerprint) != len(claim.row["fingerprint"]):',
        "tests/http/test_idempotency.py::test_the_same_key_for_another_request_is_refused",
    ),
    Plant(
        "answer_kept_in_clear",
        "profiles/idempotency.py",
        "return nonce + AESGCM(self.sealing_key).encrypt(nonce, msgspec.msgpack.encode(response), self._context)",
        "return nonce + msgspec.msgpack.encode(response)",
        "tests/http/test_idempotency.py::test_nothing_that_is_kept_can_be_read_without_the_secret",
    ),
    Plant(
        "undo_forgets_what_came_since",
        "profiles/undoing.py",
        "    fields = await _compare(ledgers, held, extent, acts, before, after, since)\n",
        "    old = {d.field: d.old for row in merges for d in row.decisions if d.field in held.fields}\n"
        "    fields = {**held.fields, **{n: msgspec.structs.replace(held.fields[n], value=old[n]) for n in old}}\n",
        "tests/store/test_acts.py::test_what_was_set_since_is_kept_and_the_rest_falls_back_to_what_lost_before",
    ),
    Plant(
        "undone_identifications_still_own_the_footprint",
        "identity/footprint.py",
        "strict=True) if fact_id not in undone]",
        "strict=True) if fact_id]",
        "tests/store/test_acts.py::test_an_undone_identification_gives_the_visitor_and_the_footprint_back",
    ),
    Plant(
        "undo_not_told_to_the_cache",
        "identity/intake.py",
        "await self._tell_cache(events, held, changes, since)",
        "await self._tell_cache(events, held, changes if events else Changes(), since)",
        "tests/store/test_acts.py::test_an_undone_merge_is_out_of_the_lookup_at_once_and_the_preview_said_so",
    ),
    Plant(
        "undo_across_workspaces",
        "profiles/sql/load_merges.sql",
        "WHERE workspace_id = %(workspace_id)s AND merge_id",
        "WHERE merge_id",
        "tests/store/test_acts.py::test_an_undo_takes_no_merge_of_another_workspace",
    ),
    Plant(
        "ledger_read_from_too_late_a_row",
        "profiles/ledger.py",
        "first = min([*versions, *ever_undone])",
        "first = min(versions)",
        "tests/unit/test_ledger.py::test_what_a_row_tells_of_the_time_before_it_may_have_been_true_only_then",
    ),
    Plant(
        "empty_value_tells_that_nothing_was_held",
        "profiles/ledger.py",
        "not self._before.wants(decision.field) or not _is_offer(decision):",
        "not self._before.wants(decision.field):",
        "tests/unit/test_ledger.py::test_a_row_that_offered_nothing_does_not_tell_that_nothing_was_held_before_it",
    ),
    Plant(
        "joined_id_not_marked",
        "identity/resolve.py",
        "policy, digest=digest, link=link, is_link=is_link)\n        if owner != customer_id:",
        "policy, digest=digest, link=link, is_link=is_link)\n        if owner is None:",
        "tests/store/test_joins.py::test_what_names_the_joined_id_meanwhile_is_merged_into_the_other_and_goes_home_afterwards",
    ),
    Plant(
        "undone_row_not_released",
        "identity/joins.py",
        "undoes=tuple(sorted(row.merge_id for row in theirs)))",
        "undoes=tuple(sorted(row.merge_id for row in theirs if row.merge_id not in undone)))",
        "tests/store/test_joins.py::"
        "test_a_row_that_was_taken_back_before_they_were_taken_apart_never_counts_in_the_other_ledger_again",
    ),
    Plant(
        "lock_holds_against_the_crm",
        "profiles/merge.py",
        "locked=held.locks if held and incoming.source in CHANNEL_SOURCES else (),",
        "locked=held.locks if held else (),",
        "tests/unit/test_ledger.py::test_a_locked_field_keeps_its_value_against_a_channel_but_not_against_the_crm",
    ),
    Plant(
        "bulk_undo_goes_on_after_its_time",
        "identity/bulk_undo.py",
        '"before": _id_at(wanted.until),',
        '"before": _id_at((1 << 48) - 1),',
        "tests/store/test_bulk_undo.py::test_what_came_before_or_after_the_time_is_left_alone",
    ),
    Plant(
        "value_taken_back_alone_comes_back_with_its_identification",
        "identity/acts.py",
        "if row.act is Act.UNDO and row.visitor_id == visitor_id]",
        "if row.act is Act.UNDO]",
        "tests/store/test_acts.py::"
        "test_a_value_that_an_admin_took_back_alone_stays_so_when_the_identification_that_gave_it_counts_again",
    ),
)
BY_NAME = {plant.name: plant for plant in PLANTS}


class Misfit(Exception):
    """The text that a plant changes is not there exactly once."""


def changed(plant: Plant, text: str) -> str:
    """Return the text with the bug in it.

    Raises:
        Misfit: it cannot be planted.
    """
    if text.count(plant.old) != 1:
        raise Misfit(f"{plant.name}: {plant.file} has its text {text.count(plant.old)} times")
    return text.replace(plant.old, plant.new)


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads one module with the bug in it, past the cache of compiled files."""

    plant: Plant

    def get_code(self, fullname: str) -> CodeType:
        source = changed(self.plant, Path(self.path).read_text("utf-8"))
        _planted.append(self.plant.name)
        return compile(source, self.path, "exec")


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._module = plant.file.removesuffix(".py").replace("/", ".")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        file = str(PROJECT / self._plant.file)
        loader = _Loader(fullname, file)
        loader.plant = self._plant
        return importlib.util.spec_from_file_location(fullname, file, loader=loader)


_planted: list[str] = []


def plant_one(name: str) -> None:
    """Plant a bug in whatever of the product is imported or read from now on."""
    plant = BY_NAME[name]
    if plant.file.endswith(".py"):
        sys.meta_path.insert(0, _Finder(plant))
        return
    # Statements and migrations are read as resources of their packages: those files read as changed.
    path = str(PROJECT / plant.file)
    text = changed(plant, Path(path).read_text("utf-8"))
    read = Path.read_text

    def read_changed(self: Path, *arguments: Any, **options: Any) -> str:
        if str(self) != path:
            return read(self, *arguments, **options)
        _planted.append(name)
        return text

    Path.read_text = read_changed  # type: ignore[method-assign]


def is_planted(name: str) -> bool:
    """Return whether the bug is in: its module was imported, its statement was read."""
    return name in _planted


def plant_from_environment() -> None:
    """Plant what the environment names, if anything."""
    name = os.environ.get(VARIABLE)
    if name:
        plant_one(name)
