"""Pure: what is sent to a webhook, how it is signed, and when it is tried again."""

from base64 import b64encode
from datetime import UTC, datetime

import msgspec
from standardwebhooks import Webhook as Signer

from identity.feed import Change

SECRET_PREFIX = "whsec_"  # noqa: S105 - what all secrets begin with
SECRET_BYTES = 32
ROTATION_HOURS = 24
"""How long the secret before goes on signing beside the new one."""
RETRY_SECONDS_MIN = 5.0
RETRY_SECONDS_MAX = 3600.0
"""The longest pause before another try of the same change."""
RETRY_DAYS_MAX = 3
"""A webhook that failed for so long is given up, until an admin says that it works again."""

_HOUR_MILLISECONDS = 3_600_000
_DAY_MILLISECONDS = 24 * _HOUR_MILLISECONDS


class Secret(msgspec.Struct, frozen=True):
    """A secret that messages are signed with until ``until`` (milliseconds since 1970), or for good."""

    secret: str
    until: int | None = None


class Message(msgspec.Struct, frozen=True):
    """What is posted. ``type`` is the first of the change's types, ``timestamp`` when it arrived here."""

    type: str
    timestamp: str
    data: Change | dict[str, str]


def make_secret(entropy: bytes) -> str:
    """Return a new secret made of ``SECRET_BYTES`` random bytes."""
    return SECRET_PREFIX + b64encode(entropy).decode()


def rotated(secrets: tuple[Secret, ...], new: str, now: int) -> tuple[Secret, ...]:
    """Return the secrets after ``new`` came: the one before signs too for a while, those before it no more."""
    return Secret(new), Secret(secrets[0].secret, now + ROTATION_HOURS * _HOUR_MILLISECONDS)


def message_of(change: Change) -> bytes:
    """Return the body that tells of a change; the same bytes at every try."""
    return msgspec.json.encode(Message(change.types[0], change.received_at, change))


def signed_headers(message_id: str, body: bytes, secrets: tuple[Secret, ...], now: int) -> dict[str, str]:
    """Return the headers of Standard Webhooks, with a signature by each secret that is in force at ``now``."""
    timestamp = datetime.fromtimestamp(now // 1000, UTC)
    in_force = [secret.secret for secret in secrets if secret.until is None or now < secret.until]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now // 1000),
        "webhook-signature": " ".join(Signer(secret).sign(message_id, timestamp, body.decode()) for secret in in_force),
    }


def pause_milliseconds(attempts: int, chance: float) -> int:
    """Return how long to wait after so many failed tries, ``chance`` from 0 to 1: twice as long each time, at random
    from half of it on, so that many webhooks of one receiver do not come back at once.
    """
    seconds = min(RETRY_SECONDS_MIN * 2 ** min(attempts - 1, 20), RETRY_SECONDS_MAX)
    return int(seconds * 1000 * (0.5 + chance / 2))


def is_hopeless(failing_since: int, now: int) -> bool:
    """Return whether a webhook has been failing for too long to go on."""
    return now - failing_since >= RETRY_DAYS_MAX * _DAY_MILLISECONDS
