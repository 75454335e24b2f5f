"""Logs: one JSON object a line on standard error. Nothing that visitors sent gets in: no URLs, bodies, error texts."""

import json
import logging
import sys
from datetime import UTC, datetime

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}
_OURS = ("identity", "profiles")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; what is passed as ``extra`` become members."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Tracebacks give types and places, never the text of the error, which may quote data."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage() if record.name.startswith((*_OURS, "uvicorn")) else str(record.msg),
            "process": record.process,
        }
        line.update({name: value for name, value in vars(record).items() if name not in _OWN})
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = type(record.exc_info[1]).__name__
            line["places"] = _places(record.exc_info[1])
        return json.dumps(line, default=str)


def _places(error: BaseException) -> list[str]:
    places, traceback = [], error.__traceback__
    while traceback is not None:
        places.append(f"{traceback.tb_frame.f_globals.get('__name__')}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return places[-8:]


def configure_logging() -> None:
    """Send all logs to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"
    # psycopg's pool and redis quote connection strings and statements at lower levels, httpx every address.
    for name in ("psycopg", "psycopg.pool", "redis", "asyncio", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
