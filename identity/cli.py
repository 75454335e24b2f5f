"""The command line."""

import argparse
import asyncio
import contextlib
import logging
import os
import re
import signal
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from secrets import token_hex
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import psycopg

from identity import partitions
from identity.changes import ChangeType
from identity.events.identity import SignedIdentity, UnsignedWrites
from identity.partitions import PartitionError
from identity.refusals import Refusal
from identity.serve import serve, servers
from identity.settings import NAMES, SECRETS, Settings, SettingsError, load
from identity.tolerant import read_value
from profiles import migrate
from profiles.access import Scope, Workspace
from profiles.cache import CACHE_SECONDS_MAX
from profiles.database import Unavailable
from profiles.embedded import EmbeddedError
from profiles.http import Problem
from profiles.migrate import SchemaError
from profiles.placement import BUCKETS
from profiles.remarks import Reason, Verdict

if TYPE_CHECKING:  # importing it takes a second, which --help and --version need not wait for
    from identity.app import Service

OK, NOT_FOUND, WRONG, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141
CACHE_WAIT_SECONDS_MAX = 3.0
"""A change waits this long for the cache to take it; running workers notice later otherwise."""

HELP_COLUMNS = 79
CHANGE_TYPES = [*map(str, ChangeType)]
HELD_KEY = "kid:"
"""Begins the name of an identity key that the channel has, where otherwise a file is named."""

Command = Callable[[argparse.Namespace, Settings], int]
Answer = Callable[["Service", Workspace], Awaitable[int]]
StoreAnswer = Callable[["Service"], Awaitable[int]]


class UsageError(Exception):
    """The command cannot be carried out as it was given; the message says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 not found or differences, 2 wrong usage or settings."""
    parser = _parser()
    if not (sys.argv[1:] if arguments is None else arguments):
        parser.print_help(sys.stderr)
        return WRONG
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    # What is shown may be more than the terminal's encoding has letters for.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        command: Command = options.command
        code = command(options, _settings(options))
        sys.stdout.flush()
    except (SettingsError, SchemaError, PartitionError, EmbeddedError, UsageError) as error:
        return _complain(str(error), WRONG)
    except Problem as error:
        return _complain(error.message, NOT_FOUND if error.status == 404 else WRONG)
    except (psycopg.Error, Unavailable) as error:
        return _complain(_database_message(error), WRONG)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on (`| head`); what Python still has to write must not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return code


def _leave(number: int, _: FrameType | None) -> NoReturn:
    # By way of the finally clauses: embedded servers that were started for the while must not stay behind.
    raise SystemExit(128 + number)


def _complain(message: str, code: int) -> int:
    print(f"identity: {message}", file=sys.stderr)
    return code


# What libpq says may quote the address, and with it a password that was not escaped; these phrases it may say.
_SAFE_PHRASES = (
    "Connection refused", "No such file or directory", "timeout expired", "Permission denied", "does not exist",
    "could not translate host name", "password authentication failed", "no pg_hba.conf entry", "too many clients",
    "server does not support SSL", "the database system is starting up",
)  # fmt: skip


def _database_message(error: psycopg.Error | Unavailable) -> str:
    told = str(error)
    phrase = next((phrase for phrase in _SAFE_PHRASES if phrase in told), None)
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    if isinstance(error, psycopg.ProgrammingError) and state is None:
        return "IDENTITY_DATABASE_URL is no address that PostgreSQL's client can read."
    if isinstance(error, Unavailable | psycopg.OperationalError):
        return f"PostgreSQL does not answer{f' ({phrase})' if phrase else ''}. Check IDENTITY_DATABASE_URL."
    return f"PostgreSQL refused what was asked (SQLSTATE {state})."


def _settings(options: argparse.Namespace) -> Settings:
    given = {
        "IDENTITY_LISTEN": getattr(options, "listen", None),
        "IDENTITY_WORKERS": getattr(options, "workers", None),
        "IDENTITY_DATA_DIR": options.data_dir,
    }
    # Into the environment, so that workers read the same.
    os.environ.update({name: value for name, value in given.items() if value is not None})
    return load()


# Commands.


def _serve(_: argparse.Namespace, settings: Settings) -> int:
    return serve(settings)


def _migrate(options: argparse.Namespace, settings: Settings) -> int:
    with _database(settings) as url:
        applied = migrate.migrate(url, store_id=token_hex(4))
        partitions.keep_up_at(url, datetime.now(UTC).date())
    if options.json:
        _print_json({"applied": applied, "schema": migrate.head()})
    elif applied:
        print("\n".join(f"Applied {name}" for name in applied))
    else:
        print(f"Nothing to do: the schema is at {migrate.head():04} or newer.")
    return OK


def _restored(options: argparse.Namespace, settings: Settings) -> int:
    with _database(settings) as url:
        store_id = token_hex(4)
        migrate.restored(url, store_id=store_id)
    if options.json:
        _print_json({"store_id": store_id})
    else:
        print("The store begins anew: nothing that the cache holds of it counts, and readers of the change feed")
        print("are told to read it again.")
    return OK


def _verify(options: argparse.Namespace, settings: Settings) -> int:
    from identity import render
    from identity.verify import UnknownWorkspace, verify

    with _database(settings) as url:
        migrate.read_store_id(url, seconds_max=0)
        try:
            report = verify(url, slug=options.workspace, progress=lambda line: print(line, file=sys.stderr, flush=True))
        except UnknownWorkspace:
            raise UsageError(f"No workspace is called {options.workspace}.") from None
    if options.json:
        _print_json(render.report_json(report, show_ids=options.show_ids))
    else:
        print(render.report(report, show_ids=options.show_ids))
    return OK if report.is_clean else NOT_FOUND


def _profile(options: argparse.Namespace, settings: Settings) -> int:
    async def answer(service: "Service", workspace: Workspace) -> int:
        from identity import render
        from identity.visitors import read_known_customer_id
        from profiles.past import read_as_of

        customer_id = read_known_customer_id(options.id)
        customers, number = service.customers, workspace.workspace_id
        if customer_id is None:
            view = None
        elif options.as_of is not None:
            view = await customers.view_at(number, customer_id, read_as_of(options.as_of))
        else:
            view = await customers.view(number, customer_id)
        if view is None:
            return _complain("No customer is held by this id.", NOT_FOUND)
        return _show(options, view, render.customer)

    return _ask(options, settings, answer)


def _visitor(options: argparse.Namespace, settings: Settings) -> int:
    async def answer(service: "Service", workspace: Workspace) -> int:
        from identity import render
        from identity.visitors import read_visitor_id
        from profiles.past import read_as_of

        visitor_id = read_visitor_id(options.id)
        visitors, number = service.visitors, workspace.workspace_id
        if visitor_id is None:
            page = None
        elif options.as_of is not None:
            page = await visitors.find_at(number, visitor_id, read_as_of(options.as_of))
        else:
            page = await visitors.find(number, visitor_id)
        if page is None:
            return _complain("No visitor with this id was ever seen.", NOT_FOUND)
        return _show(options, page, render.visitor)

    return _ask(options, settings, answer)


def _why(name: str) -> Command:
    """Return the command that tells what ``identity.cli_explain`` calls so."""

    def run(options: argparse.Namespace, settings: Settings) -> int:
        async def answer(service: "Service", workspace: Workspace) -> int:
            from identity import cli_explain

            view = await getattr(cli_explain, name)(service, workspace, options)
            return _show(options, view, cli_explain.render)

        return _ask(options, settings, answer)

    return run


def _merges(options: argparse.Namespace, settings: Settings) -> int:
    async def answer(service: "Service", workspace: Workspace) -> int:
        from identity import render
        from identity.admin.ledger import Ledger

        names = ("visitor_id", "channel_id", "event", "field", "verdict", "reason", "from", "to", "limit", "cursor")
        query = {"customer_id": options.id, **{name: getattr(options, name) for name in names}}
        ledger = Ledger(service.database, service.spreads)
        return _show(options, await ledger.list_merges(workspace.workspace_id, _given(query)), render.merges)

    return _ask(options, settings, answer)


def _merge(options: argparse.Namespace, settings: Settings) -> int:
    async def answer(service: "Service", workspace: Workspace) -> int:
        from identity import render
        from identity.admin.ledger import Ledger

        view = await Ledger(service.database, service.spreads).find_merge(workspace.workspace_id, options.id)
        return _show(options, view, render.merge)

    return _ask(options, settings, answer)


def _refusals(options: argparse.Namespace, settings: Settings) -> int:
    async def answer(service: "Service", workspace: Workspace) -> int:
        from identity import render
        from identity.admin.ledger import Ledger

        query = {name: getattr(options, name) for name in ("reason", "channel_id", "from", "to", "limit", "cursor")}
        ledger = Ledger(service.database, service.spreads)
        return _show(options, await ledger.list_refusals(workspace.workspace_id, _given(query)), render.refusals)

    return _ask(options, settings, answer)


def _given(query: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in query.items() if value is not None}


def _import(options: argparse.Namespace, settings: Settings) -> int:
    from identity.imports.columns import ImportRefused
    from identity.imports.command import Asked, import_file, read_mapping
    from identity.imports.lane import ImportBroken
    from identity.imports.report import report

    async def answer(service: "Service", workspace: Workspace) -> int:
        asked = Asked(
            options.file, read_mapping(options.map), options.encoding, options.ignore_unknown, options.dry_run,
            options.resume, options.rejects, options.note,
        )  # fmt: skip
        told = await import_file(service, workspace, asked)
        if not told.is_cache_told:
            _warn_of_cache()
        return _show(options, told, lambda view: report(view, is_dry=options.dry_run))

    try:
        return _ask(options, settings, answer)
    except (ImportRefused, ImportBroken) as error:
        raise UsageError(str(error)) from None
    except KeyboardInterrupt:
        if not options.dry_run:
            print("identity: What was committed stays; go on with --resume.", file=sys.stderr)
        raise


def _export(options: argparse.Namespace, settings: Settings) -> int:
    async def answer(service: "Service", workspace: Workspace) -> int:
        from identity.exports import export

        await export(service.settings, workspace, sys.stdout.buffer, is_csv=options.format == "csv")
        return OK

    return _ask(options, settings, answer)


def _workspace_list(options: argparse.Namespace, settings: Settings) -> int:
    async def answer(service: "Service") -> int:
        from identity import administration, render

        async with service.database.connection() as connection:
            found = await administration.list_workspaces(connection)
        return _show(options, {"items": found, "next_cursor": None}, lambda _: render.workspaces(found))

    return _ask_store(settings, answer)


def _workspace_add(options: argparse.Namespace, settings: Settings) -> int:
    async def answer(service: "Service") -> int:
        from identity import render
        from identity.admin.changes import Changes
        from identity.administration import SlugTakenError

        blocked = [] if options.no_blocked else options.blocked_customer_ids
        try:
            made = await Changes(service.database, service.access).create_workspace(
                options.slug,
                spread=options.spread,
                footprint_days=options.footprint_days,
                blocked_customer_ids=blocked,
            )
        except SlugTakenError:
            raise UsageError(f"There is a workspace called {options.slug} already.") from None
        await _tell(service)
        return _show(options, made, lambda view: render.workspaces([view]))

    return _ask_store(settings, answer)


def _workspace_change(options: argparse.Namespace, settings: Settings) -> int:
    async def answer(service: "Service", workspace: Workspace) -> int:
        from identity import render
        from identity.admin.changes import Changes, WorkspaceChange

        blocked = [] if options.no_blocked else options.blocked_customer_ids
        values = _without_none({"footprint_days": options.footprint_days, "blocked_customer_ids": blocked})
        if options.default_blocked:
            values["blocked_customer_ids"] = None
        if not values:
            raise UsageError("Nothing to change was named: see identity workspace change --help.")
        wanted = msgspec.convert(values, WorkspaceChange)
        changed = await Changes(service.database, service.access).change_workspace(workspace.workspace_id, wanted)
        await _tell(service)
        return _show(options, changed, lambda view: render.workspaces([view]))

    return _ask(options, settings, answer)


def _channel_list(options: argparse.Namespace, settings: Settings) -> int:
    async def answer(service: "Service", workspace: Workspace) -> int:
        from identity import administration, render

        async with service.database.connection() as connection:
            channels = await administration.list_channels(connection, workspace.workspace_id)
        return _show(options, {"items": channels, "next_cursor": None}, lambda _: render.channels(channels))

    return _ask(options, settings, answer)


def _channel_create(options: argparse.Namespace, settings: Settings) -> int:
    async def answer(service: "Service", workspace: Workspace) -> int:
        from identity import render
        from identity.admin.changes import Changes, NewChannel

        values = {"origins": options.origins, "on_sign_out": options.on_sign_out, "website_tracking": options.tracking}
        new = msgspec.convert({"name": options.name, **_without_none(values)}, NewChannel)
        made = await Changes(service.database, service.access).create_channel(workspace.workspace_id, new)
        await _tell(service)
        return _show(options, made, lambda view: render.channels([view]))

    return _ask(options, settings, answer)


def _channel_change(options: argparse.Namespace, settings: Settings) -> int:
    async def answer(service: "Service", workspace: Workspace) -> int:
        from identity import render
        from identity.admin.changes import Changes, ChannelChange

        values = _without_none(
            {
                "name": options.name,
                "origins": [] if options.no_origins else options.origins,
                "on_sign_out": options.on_sign_out,
                "website_tracking": options.tracking,
                "signed_identity": options.signed_identity,
                "unsigned_writes": options.unsigned_writes,
                "identity_keys": [] if options.no_identity_keys else _read_identity_keys(options.identity_keys),
            }
        )
        if not values:
            raise UsageError("Nothing to change was named: see identity channel change --help.")
        wanted = msgspec.convert(values, ChannelChange)
        changes = Changes(service.database, service.access)
        changed = await changes.change_channel(workspace.workspace_id, options.id, wanted)
        await _tell(service)
        return _show(options, changed, lambda view: render.channels([view]))

    return _ask(options, settings, answer)


def _read_identity_keys(paths: Sequence[str] | None) -> list[object] | None:
    if paths is None:
        return None
    return [_read_identity_key(path) for path in paths]


def _read_identity_key(named: str) -> object:
    if named.startswith(HELD_KEY):
        return {"kid": named.removeprefix(HELD_KEY)}
    path = Path(named)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({type(error).__name__}).") from None
    if content.startswith(b"-----BEGIN "):
        return {"kid": path.stem, "public_key": content.decode("ascii", "replace")}
    if path.suffix == ".secret":
        return {"kid": path.stem, "secret": content.decode("ascii", "replace").strip()}
    key = read_value(content)
    if not isinstance(key, dict):
        raise UsageError(f'{path} is neither PEM, nor KID.secret, nor JSON: {{"kid", "public_key"}} or a JWK.')
    return key


def _channel_revoke(options: argparse.Namespace, settings: Settings) -> int:
    async def answer(service: "Service", workspace: Workspace) -> int:
        from identity import render
        from identity.admin.changes import Changes

        revoked = await Changes(service.database, service.access).revoke_channel(workspace.workspace_id, options.id)
        await _tell(service)
        return _show(options, revoked, lambda view: render.channels([view]))

    return _ask(options, settings, answer)


def _key_list(options: argparse.Namespace, settings: Settings) -> int:
    async def answer(service: "Service", workspace: Workspace) -> int:
        from identity import administration, render

        async with service.database.connection() as connection:
            keys = await administration.list_keys(connection, workspace.workspace_id)
        return _show(options, {"items": keys, "next_cursor": None}, lambda _: render.keys(keys))

    return _ask(options, settings, answer)


def _key_create(options: argparse.Namespace, settings: Settings) -> int:
    async def answer(service: "Service", workspace: Workspace) -> int:
        from identity import render
        from identity.admin.changes import Changes, NewKey

        new = NewKey(name=options.name, scopes=[Scope(scope) for scope in options.scopes])
        made = await Changes(service.database, service.access).create_key(workspace.workspace_id, new)
        await _tell(service)
        return _show(options, made, lambda key: f"{render.keys([key])}\n\nSecret key  {key.secret}   (shown this once)")

    return _ask(options, settings, answer)


def _key_revoke(options: argparse.Namespace, settings: Settings) -> int:
    async def answer(service: "Service", workspace: Workspace) -> int:
        from identity import render
        from identity.admin.changes import Changes

        revoked = await Changes(service.database, service.access).revoke_key(workspace.workspace_id, options.id)
        await _tell(service)
        return _show(options, revoked, lambda key: render.keys([key]))

    return _ask(options, settings, answer)


def _without_none(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


# What commands share.


@contextlib.contextmanager
def _database(settings: Settings) -> Iterator[str]:
    """Give the database's address; no other server is needed, nor started beside an external database."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    with servers(settings) as running:
        assert running.database_url is not None
        yield running.database_url


def _ask(options: argparse.Namespace, settings: Settings, answer: Answer) -> int:
    """Run a command on the parts of one worker, in the workspace that the options name."""

    async def answer_in_workspace(service: "Service") -> int:
        return await answer(service, _workspace(service.access.workspaces.values(), options.workspace))

    return _ask_store(settings, answer_in_workspace)


def _ask_store(settings: Settings, answer: StoreAnswer) -> int:
    """Run a command on the parts of one worker."""
    # A person reads along: what the parts log about themselves is of no use here, failures come as exceptions.
    logging.disable(logging.CRITICAL)
    with servers(settings) as running:
        assert running.database_url is not None
        store_id = migrate.read_store_id(running.database_url, seconds_max=0)
        return asyncio.run(_with_service(running, store_id, answer))


async def _with_service(settings: Settings, store_id: str, answer: StoreAnswer) -> int:
    from identity.app import Service

    try:
        service = Service(settings, store_id)
    except ValueError as error:
        raise UsageError("IDENTITY_REDIS_URL is no address that a client of Redis can read.") from error
    try:
        await service.open()
        return await answer(service)
    finally:
        await service.close()


def _workspace(workspaces: Iterable[Workspace], slug: str | None) -> Workspace:
    by_slug = {workspace.slug: workspace for workspace in workspaces}
    known = ", ".join(sorted(by_slug))
    if not by_slug:
        raise UsageError("This store is empty: the first identity serve makes a workspace, a channel and a key.")
    if slug is None and len(by_slug) > 1:
        raise UsageError(f"There are several workspaces. Name one with --workspace: {known}.")
    if slug is not None and slug not in by_slug:
        raise UsageError(f"No workspace is called {slug}. There is: {known}.")
    return by_slug[slug] if slug is not None else next(iter(by_slug.values()))


async def _tell(service: "Service") -> None:
    """Wait until the cache knows that something changed, or say that running workers will notice later."""
    deadline = time.monotonic() + CACHE_WAIT_SECONDS_MAX
    while not service.cache.available or service.cache.suspect:
        if time.monotonic() > deadline:
            _warn_of_cache()
            return
        await asyncio.sleep(0.05)


def _warn_of_cache() -> None:
    seconds = f"{CACHE_SECONDS_MAX:.0f} seconds"
    print(f"identity: Redis is away: running workers notice the change within {seconds}.", file=sys.stderr)


def _show(options: argparse.Namespace, view: Any, render: Callable[[Any], str]) -> int:
    if options.json:
        _print_json(view)
    else:
        print(render(view))
    return OK


def _print_json(view: object) -> None:
    from identity import render

    print(render.as_json(view))


# The words. Every command has its line in the table of contents, its help and its example.

_CONTENTS = """\
Who is this visitor, and what is known of them? A self-hosted service.

Run it
  serve              start the service (with PostgreSQL and Redis of its own, if none are named)
  migrate            bring the database's schema up to date
  verify             replay the ledger and report every difference from what is held
  restored           say that the database came out of a backup, before the first start on it

Look into it
  profile ID         a customer: fields, who set them, visitors
  visitor ID         a visitor: whose it is, and everything that was said of it
  explain ID         why each field holds what it holds, and what became of all else; why a visitor is whose it is
  diff ID            what changed of a customer between two instants
  merges [ID]        what was done to customers' fields, and why, newest first
  merge MERGE_ID     one merge
  changes            what changed, in the order that other systems follow
  refusals           events that wrote nothing, and why

Bring it in, take it out
  import FILE        customers of a CSV or NDJSON file, by the same rules as live traffic
  export             all customers of a workspace, as NDJSON or CSV
  export-customer ID everything that is held of one person, as JSON

Forget it
  erase ID           remove a person for good; the id is refused from then on
  erasures           who was erased, by hashes; kept outside, for restored backups
  reapply FILE       erase anew whom a restored backup brought back
  lift ID            let an erased customer be taken again
  shred              write the tables anew, so that files keep no trace either

Take it back
  undo ID            one merge or, with --visitor, one identification; undo the undoing to restore
  undo-many          all of a channel in a stretch of time, or of an import: the answer to a stolen key
  operations         imports and bulk undos, and how far they are
  lock ID FIELD...   keep websites from changing fields
  unlock ID FIELD... let them again
  join ID            declare a customer to be another one
  unjoin ID          take the two apart again
  suggestions        customers who share an e-mail address or a phone number

Say who may come in
  workspace list | add | change               tenants, and how long they keep behaviour events
  channel list | create | change | revoke     websites and their public write keys
  key list | create | revoke                  secret keys for CRM systems and admins

Tell other systems
  webhook list | create | change | rotate | delete     addresses that changes are pushed to
  webhook test | deliveries | resend                   what became of it, and once more

identity COMMAND --help tells more of each, with an example.
"""

_EXIT_CODES = "Exit codes: 0 done, 1 not found or differences, 2 wrong usage or settings, 130 interrupted."


def _environment() -> str:
    width = max(map(len, NAMES))
    lines = [f"  {name:<{width}}  {text}" for name, text in NAMES.items()]
    files = ", ".join(f"{name}_FILE" for name in SECRETS)
    return "\n".join(["Settings are read from the environment:", *lines, f"Secrets also from files: {files}."])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="identity",
        usage="identity COMMAND [options]",
        description=_CONTENTS,
        epilog=f"{_environment()}\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(metavar="COMMAND", required=True, help=argparse.SUPPRESS)
    command = _adder(commands, "identity")

    one = command(
        "serve", _serve, "Start the service and run it until it is told to stop.", "identity serve --workers 2"
    )
    one.add_argument(
        "--listen", metavar="HOST:PORT", help="where to listen (default: IDENTITY_LISTEN or 127.0.0.1:8000)"
    )
    one.add_argument("--workers", metavar="N", help="worker processes (default: IDENTITY_WORKERS or one per core)")

    one = command(
        "migrate", _migrate, "Bring the database's schema up to date; safe beside running services.", "identity migrate"
    )
    _json(one)

    one = command(
        "restored",
        _restored,
        "Say that the database came out of a backup, with every host stopped, before the first start on it. The cache "
        "forgets the store, cursors of the change feed are refused, and the feed keeps its order.",
        "identity restored",
    )
    _json(one)

    one = command(
        "verify",
        _verify,
        "Replay the whole ledger through the rules and report every difference from what is held. Reads one snapshot; "
        "the service may go on. Exits with 1 if there is a difference.",
        "identity verify --workspace main --json",
    )
    one.add_argument("--workspace", metavar="SLUG", help="this workspace alone (default: all)")
    one.add_argument("--show-ids", action="store_true", help="name customers and visitors; they are personal data")
    _json(one)

    one = command("profile", _profile, "Show what is held of a customer, and who set it.", "identity profile 42")
    one.add_argument("id", metavar="ID", help="the customer_id")
    _as_of(one)
    _common(one)

    one = command(
        "visitor", _visitor, "Show whose a visitor is, and everything that was said of it.", "identity visitor v-1"
    )
    one.add_argument("id", metavar="ID", help="the visitor_id")
    _as_of(one)
    _common(one)

    _explanations(command)
    one = command(
        "merges",
        _merges,
        "List what was done to fields, and why, newest first. Field, verdict and reason meet in one decision.",
        "identity merges 42 --verdict skipped_invalid",
    )
    one.add_argument("id", metavar="ID", nargs="?", help="the customer_id (default: all customers)")
    one.add_argument("--visitor", dest="visitor_id", metavar="ID", help="caused by this visitor")
    one.add_argument("--event", metavar="NAME", help="of events of this name, for example clIdentity")
    one.add_argument("--field", metavar="NAME", help="that decided on this field, for example display_mobile")
    verdicts, reasons = [*map(str, Verdict)], [*map(str, Reason)]
    one.add_argument("--verdict", choices=verdicts, metavar="VERDICT", help=f"that decided so: {', '.join(verdicts)}")
    one.add_argument("--reason", choices=reasons, metavar="REASON", help=f"for this reason: {', '.join(reasons)}")
    _page(one)
    _common(one)

    one = command(
        "merge", _merge, "Show one merge with every decision.", "identity merge 0198c0de-0000-7000-8000-000000000000"
    )
    one.add_argument("id", metavar="MERGE_ID", help="as merges and profile tell it")
    _common(one)

    one = command(
        "refusals", _refusals, "Count and list the events that wrote nothing.", "identity refusals --limit 10"
    )
    refused = [*map(str, Refusal)]
    one.add_argument("--reason", choices=refused, metavar="REASON", help=f"for this reason: {', '.join(refused)}")
    _page(one)
    _common(one)

    _imports(command)
    _persons(command)
    _acts(command)
    _workspaces(commands)
    _channels(commands)
    _keys(commands)
    _webhooks(commands)
    return parser


def _imports(command: Callable[[str, Command, str, str], argparse.ArgumentParser]) -> None:
    one = command(
        "import",
        _import,
        "Import customers: CSV (with a header; also Excel's, in UTF-8, UTF-16 or Big5) or NDJSON. The file is looked "
        "through as a whole before anything is written. Columns named like clIdentity's parameters or like the fields "
        "of a profile need no mapping. New overwrites old; an empty cell says nothing.",
        'identity import members.csv --map "Mobile No=phone" --dry-run',
    )
    one.add_argument("file", metavar="FILE|-", help="the file; - for standard input")
    one.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="COLUMN=FIELD",
        help="what a column is held as, for example phone, customer_id, occurred_at or custom.points; give it once for "
        "each",
    )
    one.add_argument("--encoding", metavar="NAME", help="of the file (default: seen from the file)")
    one.add_argument("--ignore-unknown", action="store_true", help="pass over columns that nobody knows")
    one.add_argument("--dry-run", action="store_true", help="write nothing; tell what would be done")
    one.add_argument(
        "--rejects",
        metavar="FILE",
        help="where lines that can be mended go, to be imported again (default: FILE.rejects beside the file; of a dry "
        "run, nowhere)",
    )
    one.add_argument("--resume", action="store_true", help="go on with an import of this file that was broken off")
    one.add_argument("--note", metavar="TEXT", help="why, for those who read the ledger")
    _common(one)

    one = command(
        "export",
        _export,
        "Write all customers of a workspace to standard output. NDJSON has the time of each field with it, and an "
        "import of it elsewhere gives equal profiles; CSV is for spreadsheets.",
        "identity export --format csv > members.csv",
    )
    one.add_argument("--format", choices=["ndjson", "csv"], default="ndjson", help="default ndjson")
    one.add_argument("--workspace", metavar="SLUG", help="the workspace (default: the only one)")


def _person(name: str) -> Command:
    """Return the command that does what ``identity.cli_erasure`` calls so."""

    def run(options: argparse.Namespace, settings: Settings) -> int:
        async def answer(service: "Service", workspace: Workspace) -> int:
            from identity import cli_erasure

            view = await getattr(cli_erasure, name)(service, workspace, options)
            await _tell(service)
            return OK if view is None else _show(options, view, cli_erasure.render)

        return _ask(options, settings, answer)

    return run


def _shred(_: argparse.Namespace, settings: Settings) -> int:
    from identity.shredding import ShredError, shred

    with _database(settings) as url:
        migrate.read_store_id(url, seconds_max=0)
        try:
            left = shred(url, lambda table: print(f"Writing {table} anew.", file=sys.stderr, flush=True))
        except ShredError as error:
            raise UsageError(str(error)) from None
    for what in left:
        print(f"identity: not allowed to this account: {what}. See the runbook, Erasing a person.", file=sys.stderr)
    return OK


def _persons(command: Callable[[str, Command, str, str], argparse.ArgumentParser]) -> None:
    one = command(
        "export-customer",
        _person("export_customer"),
        "Write everything that is held of one person to standard output, as one JSON document.",
        "identity export-customer 42 > 42.json",
    )
    one.add_argument("id", metavar="ID", help="the customer_id")
    one.add_argument("--workspace", metavar="SLUG", help="the workspace (default: the only one)")

    one = command(
        "erase",
        _person("erase"),
        "Remove everything that is held of a customer, and of all that are joined with it. A keyed hash of the id "
        "stays, so that late and replayed events are refused. It cannot be taken back.",
        "identity erase 42 --dry-run",
    )
    one.add_argument("id", metavar="ID", help="the customer_id")
    one.add_argument("--dry-run", action="store_true", help="only tell what would be removed")
    _common(one)

    one = command(
        "erasures",
        _person("erasures"),
        "List who was erased. As JSON, keep it outside with your backups: see reapply.",
        "identity erasures --json > erasures.json",
    )
    _common(one)

    one = command(
        "reapply",
        _person("reapply"),
        "Erase anew whom a restored backup brought back: those in the file that erasures --json wrote.",
        "identity reapply erasures.json",
    )
    one.add_argument("file", metavar="FILE", help="what identity erasures --json wrote")
    _common(one)

    one = command(
        "lift",
        _person("lift"),
        "Let an erased customer be taken again. Nothing comes back by itself; the versions go on where they were.",
        "identity lift 42",
    )
    one.add_argument("id", metavar="ID", help="the customer_id")
    _common(one)

    command(
        "shred",
        _shred,
        "Write all tables that hold persons anew: PostgreSQL leaves the bytes of removed rows in its files. Locks one "
        "table after the other and needs room for a copy of the largest.",
        "identity shred",
    )


def _act(name: str) -> Command:
    """Return the command that does what ``identity.cli_acts`` calls so."""

    def run(options: argparse.Namespace, settings: Settings) -> int:
        async def answer(service: "Service", workspace: Workspace) -> int:
            from identity import cli_acts

            view = await getattr(cli_acts, name)(service, workspace, options)
            await _tell(service)
            return _show(options, view, cli_acts.render)

        return _ask(options, settings, answer)

    return run


def _acts(command: Callable[[str, Command, str, str], argparse.ArgumentParser]) -> None:
    one = command(
        "undo",
        _act("undo"),
        "Take a merge back: what it had set falls back to the next best value. With --visitor an identification: the "
        "visitor and its footprint go back to whose they then are. What an undo wrote can be undone too.",
        "identity undo 0198c0de-0000-7000-8000-000000000000 --dry-run",
    )
    one.add_argument("id", metavar="ID", help="a merge_id or, with --visitor, an identification_id")
    one.add_argument("--visitor", dest="visitor_id", metavar="ID", help="whose identification it is")
    _reasoned(one)

    one = command(
        "undo-many",
        _act("undo_many"),
        "Take back every merge and identification that the filters find, in steps; what is broken off goes on in the "
        "running service. Name an operation, or a channel, visitor or customer with --from.",
        "identity undo-many --channel CHANNEL_ID --from 2026-06-01T08:00:00Z --dry-run",
    )
    one.add_argument("--channel", dest="channel_id", metavar="CHANNEL_ID", help="what came by this channel")
    one.add_argument("--visitor", dest="visitor_id", metavar="ID", help="what this visitor caused")
    one.add_argument("--customer", dest="customer_id", metavar="ID", help="what was merged into this customer")
    one.add_argument("--event", metavar="NAME", help="of events of this name, for example clIdentity")
    one.add_argument("--operation", dest="operation_id", metavar="ID", help="what this import or bulk undo wrote")
    one.add_argument("--from", metavar="TIME", help="what arrived at this time (RFC 3339) or later")
    one.add_argument("--to", metavar="TIME", help="what arrived before this time (default: now)")
    _reasoned(one)

    one = command("operations", _act("operations"), "List imports and bulk undos, newest first.", "identity operations")
    _common(one)

    for name, locked, text in (
        ("lock", True, "Keep websites from changing fields of a customer; CRM and imports still may."),
        ("unlock", False, "Let websites change fields of a customer again."),
    ):
        one = command(name, _act("lock"), text, f"identity {name} 42 display_name display_email")
        one.set_defaults(locked=locked)
        one.add_argument("id", metavar="ID", help="the customer_id")
        one.add_argument("fields", metavar="FIELD", nargs="+", help="as it is held, for example display_email")
        _reasoned(one, dry=False)

    one = command(
        "join",
        _act("join"),
        "Declare a customer to be another one: its id answers with the other's profile, into which its own is merged. "
        "Nothing is lost: identity unjoin takes them apart again.",
        "identity join 17 --into 42 --dry-run",
    )
    one.add_argument("id", metavar="ID", help="the customer_id that is the same person as the other")
    one.add_argument("--into", metavar="ID", required=True, help="the customer_id that stays")
    _reasoned(one)

    one = command("unjoin", _act("take_apart"), "Take a joined customer apart again.", "identity unjoin 17 --dry-run")
    one.add_argument("id", metavar="ID", help="the customer_id that was joined into another one")
    _reasoned(one)

    one = command(
        "suggestions",
        _act("suggestions"),
        "List customers who share an e-mail address or a phone number. None is ever joined by that.",
        "identity suggestions --shared phone",
    )
    one.add_argument("--shared", choices=["email", "phone"], default="email", help="what they share (default email)")
    _common(one)


def _explanations(command: Callable[[str, Command, str, str], argparse.ArgumentParser]) -> None:
    one = command(
        "explain",
        _why("explain"),
        "Explain a customer: per field the value that is held, every other one that was seen, and what beat it. With "
        "--visitor explain whose a visitor's time is, and why.",
        "identity explain 42 --field display_email",
    )
    one.add_argument("id", metavar="ID", help="the customer_id or, with --visitor, the visitor_id")
    one.add_argument("--visitor", action="store_true", help="explain a visitor")
    one.add_argument("--field", metavar="NAME", help="this field alone, as it is held, for example display_email")
    _common(one)

    one = command(
        "diff",
        _why("diff"),
        "Show what changed of a customer between two instants, and what changed it.",
        "identity diff 42 --from 2026-06-01T00:00:00Z",
    )
    one.add_argument("id", metavar="ID", help="the customer_id")
    one.add_argument(
        "--from", metavar="TIME", help="the first instant (RFC 3339, or milliseconds; default: before everything)"
    )
    one.add_argument("--to", metavar="TIME", help="the second (default: now)")
    _common(one)


def _reasoned(parser: argparse.ArgumentParser, *, dry: bool = True) -> None:
    parser.add_argument("--reason", metavar="TEXT", help="why, for those who read the ledger")
    if dry:
        parser.add_argument("--dry-run", action="store_true", help="write nothing; show what would be done")
    _common(parser)


def _workspaces(commands: Any) -> None:
    group = commands.add_parser(
        "workspace",
        prog="identity workspace",
        help=argparse.SUPPRESS,
        description="Tenants. Nothing crosses from one to another. Running workers obey with their next request.",
        epilog="Example:\n  identity workspace list",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command = _adder(group.add_subparsers(metavar="ACTION", required=True), "identity workspace")
    _json(command("list", _workspace_list, "List the workspaces.", "identity workspace list --json"))

    one = command(
        "add",
        _workspace_add,
        "Make a workspace. It has no channel and no key yet: make them with --workspace.",
        "identity workspace add shop --footprint-days 90",
    )
    one.add_argument("slug", metavar="SLUG", type=_slug, help="what commands call it, for good")
    one.add_argument(
        "--spread",
        type=_spread,
        default=1,
        metavar="N",
        help=f"buckets that its rows are spread over, for good: 1 (default) to {BUCKETS}; more than 1 for a tenant of "
        "millions of visitors, on a cluster",
    )
    _workspace_options(one)
    _json(one)

    one = command(
        "change",
        _workspace_change,
        "Change a workspace; what is not named stays.",
        "identity workspace change main --footprint-days 90",
    )
    one.add_argument("workspace", metavar="SLUG", help="as list tells it")
    one.add_argument(
        "--default-blocked", action="store_true", help="go back to the blocked ids that come with the service"
    )
    _workspace_options(one)
    _json(one)


def _workspace_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--footprint-days",
        type=int,
        metavar="N",
        help="keep behaviour events for so many days from their arrival (default 395)",
    )
    parser.add_argument(
        "--blocked-customer-id",
        dest="blocked_customer_ids",
        action="append",
        metavar="ID",
        help="a customer id that stands for nobody; give it once for each, all are replaced",
    )
    parser.add_argument("--no-blocked", action="store_true", help="let no customer id stand for nobody")


def _channels(commands: Any) -> None:
    group = commands.add_parser(
        "channel",
        prog="identity channel",
        help=argparse.SUPPRESS,
        description="Websites and their public write keys. Running workers obey with their next request.",
        epilog="Example:\n  identity channel list",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command = _adder(group.add_subparsers(metavar="ACTION", required=True), "identity channel")
    _common(command("list", _channel_list, "List the channels, revoked ones included.", "identity channel list --json"))

    one = command(
        "create",
        _channel_create,
        "Make a channel with a write key of its own.",
        "identity channel create --name Shop --origin https://shop.example",
    )
    one.add_argument("--name", required=True, help="what people call it")
    _channel_options(one)
    _common(one)

    one = command(
        "change",
        _channel_change,
        "Change a channel; what is not named stays.",
        "identity channel change CHANNEL_ID --tracking off",
    )
    one.add_argument("id", metavar="CHANNEL_ID", help="as list tells it")
    one.add_argument("--name", help="what people call it")
    one.add_argument("--no-origins", action="store_true", help="let no page of any origin send")
    one.add_argument(
        "--signed-identity",
        choices=[*map(str, SignedIdentity)],
        help="whether signed tokens must say who a visitor is; observe counts what required would refuse",
    )
    one.add_argument(
        "--identity-key",
        dest="identity_keys",
        action="append",
        metavar="FILE|kid:KID",
        help="a key that tokens are signed with: a public one as PEM, in a file called by its kid; a secret as the one "
        "line of KID.secret; either as JSON; or one that the channel has, as kid:KID; give it once for each, all are "
        "replaced",
    )
    one.add_argument(
        "--unsigned-writes",
        choices=[*map(str, UnsignedWrites)],
        help="what events without such a token may do to held values (default overwrite)",
    )
    one.add_argument("--no-identity-keys", action="store_true", help="trust no key any more")
    _channel_options(one)
    _common(one)

    one = command(
        "revoke", _channel_revoke, "Put a channel out of force for good.", "identity channel revoke CHANNEL_ID"
    )
    one.add_argument("id", metavar="CHANNEL_ID", help="as list tells it")
    _common(one)


def _channel_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--origin",
        dest="origins",
        action="append",
        metavar="ORIGIN",
        help='pages that may send, like https://shop.example, or "loopback"; give it once for each, all are replaced',
    )
    parser.add_argument("--tracking", type=_switch, metavar="on|off", help="take its events at all (default on)")
    parser.add_argument("--on-sign-out", choices=["forget", "keep"], help="what a sign-out does (default forget)")


def _keys(commands: Any) -> None:
    group = commands.add_parser(
        "key",
        prog="identity key",
        help=argparse.SUPPRESS,
        description="Secret keys for CRM systems and admins. Running workers obey with their next request.",
        epilog="Example:\n  identity key list",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command = _adder(group.add_subparsers(metavar="ACTION", required=True), "identity key")
    _common(
        command(
            "list", _key_list, "List the keys, revoked ones included; the secrets are not kept.", "identity key list"
        )
    )

    one = command(
        "create",
        _key_create,
        "Make a secret key and show it this once.",
        "identity key create --name CRM --scope profiles:read",
    )
    one.add_argument("--name", required=True, help="what people call it")
    one.add_argument(
        "--scope",
        dest="scopes",
        action="append",
        required=True,
        choices=[*map(str, Scope)],
        help="what it may do; give it once for each",
    )
    _common(one)

    one = command("revoke", _key_revoke, "Put a key out of force for good.", "identity key revoke KEY_ID")
    one.add_argument("id", metavar="KEY_ID", help="as list tells it")
    _common(one)


def _webhook(name: str) -> Command:
    """Return the command that does what ``identity.cli_webhooks`` calls so."""

    def run(options: argparse.Namespace, settings: Settings) -> int:
        async def answer(service: "Service", workspace: Workspace) -> int:
            from identity import cli_webhooks

            view = await getattr(cli_webhooks, name)(service, workspace, options)
            return _show(options, view, cli_webhooks.render)

        return _ask(options, settings, answer)

    return run


def _webhooks(commands: Any) -> None:
    one = _adder(commands, "identity")(
        "changes",
        _webhook("changes"),
        "List what changed, oldest first, in the order that other systems follow. Values are not shown.",
        "identity changes --limit 10",
    )
    one.add_argument("--after", metavar="CURSOR", help="behind this cursor (default: from the beginning)")
    one.add_argument("--limit", metavar="N", help="at most so many (default 200, at most 1000)")
    _common(one)

    group = commands.add_parser(
        "webhook",
        prog="identity webhook",
        help=argparse.SUPPRESS,
        description="Addresses that changes are pushed to, signed as Standard Webhooks says.",
        epilog="Example:\n  identity webhook list",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command = _adder(group.add_subparsers(metavar="ACTION", required=True), "identity webhook")
    _common(command("list", _webhook("listed"), "List the webhooks, and how they are doing.", "identity webhook list"))

    one = command(
        "create",
        _webhook("create"),
        "Make a webhook, told of what changes from now on, and show its secret this once.",
        "identity webhook create https://crm.example/hooks --type updated --type erased",
    )
    one.add_argument("url", metavar="URL", help="where messages are posted to")
    one.add_argument("--from-beginning", action="store_true", help="tell it of the whole ledger first")
    _webhook_options(one)

    one = command("change", _webhook("change"), "Change a webhook.", "identity webhook change WEBHOOK_ID --active on")
    one.add_argument("id", metavar="WEBHOOK_ID", help="as list tells it")
    one.add_argument("--url", help="where messages are posted to")
    one.add_argument("--active", type=_switch, metavar="on|off", help="on: also try at once what failed; off: pause it")
    one.add_argument("--all-types", action="store_true", help="tell it of every change")
    _webhook_options(one)

    for name, text in (
        ("rotate", "Give a webhook a new secret, shown this once; the old one signs beside it for a day."),
        ("delete", "Forget a webhook and what was delivered to it."),
        ("test", "Send a message of the type test now, and tell what became of it."),
    ):
        one = command(name, _webhook(name), text, f"identity webhook {name} WEBHOOK_ID")
        one.add_argument("id", metavar="WEBHOOK_ID", help="as list tells it")
        _common(one)

    one = command(
        "deliveries",
        _webhook("deliveries"),
        "List what became of changes, newest first.",
        "identity webhook deliveries WEBHOOK_ID --status failed",
    )
    one.add_argument("id", metavar="WEBHOOK_ID", help="as list tells it")
    one.add_argument("--status", choices=["delivered", "failed"], help="only these")
    one.add_argument("--from", metavar="TIME", help="of changes from this time on")
    one.add_argument("--to", metavar="TIME", help="of changes before this time")
    one.add_argument("--limit", metavar="N", help="at most so many (default 50, at most 200)")
    one.add_argument("--cursor", metavar="CURSOR", help="go on behind the last page, as its end told")
    _common(one)

    one = command(
        "resend",
        _webhook("resend"),
        "Send one change now, or let the webhook go on from another place, back or ahead.",
        "identity webhook resend WEBHOOK_ID --since 2026-06-01T08:00:00Z",
    )
    one.add_argument("id", metavar="WEBHOOK_ID", help="as list tells it")
    where = one.add_mutually_exclusive_group(required=True)
    where.add_argument("--merge", dest="merge_id", metavar="MERGE_ID", help="this change alone, now")
    where.add_argument("--since", metavar="TIME", help="all that arrived from this time on")
    where.add_argument("--after", metavar="CURSOR", help="all behind this cursor of the feed")
    _common(one)


def _webhook_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--description", help="what people call it")
    parser.add_argument(
        "--type", dest="types", action="append", choices=CHANGE_TYPES, metavar="TYPE",
        help=f"tell it of these changes only; give it once for each: {', '.join(CHANGE_TYPES)}",
    )  # fmt: skip
    _common(parser)


def _adder(commands: Any, prefix: str) -> Callable[[str, Command, str, str], argparse.ArgumentParser]:
    def add(name: str, run: Command, description: str, example: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(
            name,
            prog=f"{prefix} {name}",
            help=description,
            description=textwrap.fill(description, HELP_COLUMNS),
            epilog=f"Example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.set_defaults(command=run)
        parser.add_argument(
            "--data-dir",
            metavar="FOLDER",
            help="where the embedded servers keep their data (default: IDENTITY_DATA_DIR)",
        )
        return parser

    return add


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, as the HTTP API answers")


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workspace", metavar="SLUG", help="the workspace (default: the only one)")
    _json(parser)


def _as_of(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as-of", metavar="TIME", help="as it was then (RFC 3339, or milliseconds since 1970)")


def _page(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--channel", dest="channel_id", metavar="CHANNEL_ID", help="that came by this channel")
    parser.add_argument("--from", metavar="TIME", help="from this time on (RFC 3339, or milliseconds since 1970)")
    parser.add_argument("--to", metavar="TIME", help="before this time")
    parser.add_argument("--limit", metavar="N", help="at most so many (default 50, at most 200)")
    parser.add_argument("--cursor", metavar="CURSOR", help="go on behind the last page, as its end told")


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise argparse.ArgumentTypeError("on or off is wanted")
    return text == "on"


def _slug(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", text):
        raise argparse.ArgumentTypeError("1 to 63 small letters, digits and hyphens are wanted")
    return text


def _spread(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= BUCKETS:
        raise argparse.ArgumentTypeError(f"a whole number from 1 to {BUCKETS} is wanted")
    return int(text)


def _version() -> str:
    try:
        number = version("identity-service")
    except PackageNotFoundError:
        number = "of a checkout that is not installed"
    return f"identity {number} (schema {migrate.head():04})"
