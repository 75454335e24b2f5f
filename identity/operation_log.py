"""Long works that admins begin, written down: anybody can see how far one is, and go on with one that stopped."""

from typing import Any, Literal
from uuid import uuid4

import msgspec

from profiles.clock import to_text
from profiles.database import Connection, Database, statement

Kind = Literal["import", "undo"]
Status = Literal["running", "done", "failed", "stopped"]

LEASE_SECONDS = 15.0
"""A work of which nobody has told anything for so long is taken over by whoever asks next."""

_decode = msgspec.json.decode


class Operation(msgspec.Struct, frozen=True):
    """One long work. Times in milliseconds; what ``parameters`` and ``progress`` hold is its kind's own."""

    operation_id: str
    workspace_id: int
    kind: str
    status: str
    actor: str
    note: str | None
    parameters: dict[str, Any]
    progress: dict[str, Any]
    created_at: int
    updated_at: int
    finished_at: int | None


class OperationLog:
    """The works of all workspaces."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(
        self,
        workspace_id: int,
        kind: Kind,
        *,
        actor: str,
        note: str | None,
        parameters: dict[str, Any],
        progress: dict[str, Any],
        now: int,
        taken: bool = False,
    ) -> Operation:
        """Write a work down. ``taken``: the caller does it; else the next worker that looks for one."""
        operation = Operation(
            str(uuid4()),
            workspace_id,
            kind,
            "running",
            actor,
            note,
            parameters,
            progress,
            now,
            now if taken else 0,
            None,
        )

        async def work(connection: Connection) -> None:
            await connection.execute(statement("identity", "begin_operation"), _row(operation))

        await self._database.run(work)
        return operation

    async def tell(self, operation: Operation, progress: dict[str, Any], now: int, status: Status = "running") -> None:
        """Write down how far a work is; whoever does so goes on doing it."""
        finished_at = None if status == "running" else to_text(now)

        async def work(connection: Connection) -> None:
            parameters = {
                "operation_id": operation.operation_id,
                "status": status,
                "progress": msgspec.json.encode(progress).decode(),
                "updated_at": to_text(now),
                "finished_at": finished_at,
            }
            await connection.execute(statement("identity", "save_operation"), parameters)

        await self._database.run(work)

    async def take(self, kind: Kind, now: int) -> Operation | None:
        """Return a work that nobody does, and do it from now on; None if there is none."""
        stale = to_text(now - round(LEASE_SECONDS * 1000))
        parameters = {"kind": kind, "now": to_text(now), "stale": stale}
        rows = await self._database.fetch("identity", "take_operation", parameters)
        return _operation(*rows[0]) if rows else None

    async def find(self, workspace_id: int, operation_id: str) -> Operation | None:
        """Return one work of a workspace."""
        parameters = {"workspace_id": workspace_id, "operation_id": operation_id}
        rows = await self._database.fetch("identity", "show_operation", parameters)
        return _operation(*rows[0]) if rows else None

    async def newest(self, workspace_id: int, rows_max: int) -> list[Operation]:
        """Return the works that were begun last, the newest first."""
        parameters = {"workspace_id": workspace_id, "rows_max": rows_max}
        return [_operation(*row) for row in await self._database.fetch("identity", "list_operations", parameters)]


def _row(operation: Operation) -> dict[str, object]:
    return {
        **msgspec.structs.asdict(operation),
        "parameters": msgspec.json.encode(operation.parameters).decode(),
        "progress": msgspec.json.encode(operation.progress).decode(),
        "created_at": to_text(operation.created_at),
        "updated_at": to_text(operation.updated_at),
    }


def _operation(*row: Any) -> Operation:
    operation_id, workspace_id, kind, status, actor, note, parameters, progress, *times = row
    created_at, updated_at, finished_at = times
    return Operation(
        operation_id, workspace_id, kind, status, actor, note, _decode(parameters), _decode(progress), created_at,
        updated_at, finished_at,
    )  # fmt: skip
