"""What the command line does for persons: erase, tell what is held, lift, erase anew whom a backup brought back."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from identity.cli import UsageError
from identity.erasure import Erasure, Receipt
from identity.erasure_routes import ErasureView, erasure_view
from identity.render import table
from identity.visitors import read_known_customer_id
from profiles.access import Workspace
from profiles.clock import read_time
from profiles.http import Problem

if TYPE_CHECKING:
    from identity.app import Service

ACTOR = "cli"


class ErasureList(msgspec.Struct, frozen=True):
    """Who was erased in a workspace. ``key_proof``: hashes are by this store's key."""

    workspace: str
    key_proof: str
    items: list[ErasureView]


class Reapplied(msgspec.Struct, frozen=True):
    """What became of the erasures that were kept outside: of whom the backup had brought back, the receipts."""

    erasures: int
    erased: list[Receipt]


async def erase(service: "Service", workspace: Workspace, options: argparse.Namespace) -> Receipt:
    """Erase a customer, and wait until everything is removed."""
    customer_id = _customer(options.id)
    receipt = await service.eraser.erase(workspace.workspace_id, customer_id, ACTOR, dry_run=options.dry_run)
    while receipt.pending:
        receipt = await service.eraser.erase(workspace.workspace_id, customer_id, ACTOR)
    return receipt


async def export_customer(service: "Service", workspace: Workspace, options: argparse.Namespace) -> None:
    """Write everything that is held of a customer to standard output."""
    out = sys.stdout.buffer
    async for piece in service.disclosure.tell(workspace.workspace_id, _customer(options.id)):
        out.write(piece)
    out.write(b"\n")
    out.flush()


async def erasures(service: "Service", workspace: Workspace, _: argparse.Namespace) -> ErasureList:
    """List who was erased, in a form that is kept outside and re-applied to a restored backup."""
    found = [erasure_view(erasure) async for erasure in service.eraser.all(workspace.workspace_id)]
    return ErasureList(workspace.slug, service.tombstones.proof(), found)


async def reapply(service: "Service", workspace: Workspace, options: argparse.Namespace) -> Reapplied:
    """Erase anew whom a backup brought back."""
    path = Path(options.file)
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=ErasureList)  # noqa: ASYNC240 - nobody else waits
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({type(error).__name__}).") from None
    except (msgspec.MsgspecError, UnicodeError):
        raise UsageError(f"{path} is not what identity erasures --json wrote.") from None
    if kept.key_proof != service.tombstones.proof():
        message = f"{path} is of another store, or of a time before its key: nobody can be found by its hashes."
        raise UsageError(message)
    if kept.workspace != workspace.slug:
        raise UsageError(f"{path} is of the workspace {kept.workspace}.")
    erased = await service.eraser.reapply(workspace.workspace_id, [_erasure(view) for view in kept.items], ACTOR)
    return Reapplied(len(kept.items), erased)


async def lift(service: "Service", workspace: Workspace, options: argparse.Namespace) -> ErasureView:
    """Let a customer be taken again."""
    customer_hash = service.tombstones.hash_of(workspace.workspace_id, _customer(options.id))
    return erasure_view(await service.eraser.lift(workspace.workspace_id, customer_hash, ACTOR))


def _customer(text: str) -> str:
    customer_id = read_known_customer_id(text)
    if customer_id is None:
        raise Problem(404, "customer_not_found", "No customer is held by this id.")
    return customer_id


def _erasure(view: ErasureView) -> Erasure:
    erased_at = read_time(view.erased_at)
    if erased_at is None:
        raise UsageError("A time in the file is none.")
    return Erasure(
        bucket=view.bucket,
        customer_hash=view.customer_hash,
        erasure_id="",
        version=view.version,
        actor=view.erased_by,
        erased_at=erased_at,
        pending=None,
        removed=view.removed,
        lifted_at=read_time(view.lifted_at),
        lifted_by=view.lifted_by,
    )


def render(view: Any) -> str:
    """Return what a command did, for people."""
    match view:
        case Receipt():
            return _receipt(view)
        case Reapplied():
            return f"{view.erasures} erasures were kept outside; {len(view.erased)} customers were erased anew."
        case ErasureList():
            head = ("ERASED AT", "BY", "VERSION", "CUSTOMER HASH", "LIFTED AT")
            rows = [(v.erased_at, v.erased_by, v.version, v.customer_hash, v.lifted_at) for v in view.items]
            return table(head, rows) if rows else "Nobody was ever erased."
        case ErasureView():
            return "The customer may be taken again. Nothing comes back by itself."
    raise TypeError(type(view).__name__)


def _receipt(receipt: Receipt) -> str:
    head = "Nothing is removed: a dry run." if receipt.dry_run else f"Erased at {receipt.erased_at}."
    rows = [(name, count) for name, count in msgspec.structs.asdict(receipt.removed).items()]
    shown = table(("WOULD GO" if receipt.dry_run else "GONE", "ROWS"), rows)
    return f"{head} Its hash: {receipt.customer_hash}\n\n{shown}"
