"""What the inspector says, in English and in Traditional Chinese. Codes stay codes; their sentences are translated.

A text is found by its name, with what stands in it in braces. The sentences that the JSON API and the README have as
well are taken from where those have them.
"""

from collections.abc import Callable
from functools import cache
from importlib.resources import files

import msgspec

from identity.admin.arrivals import CHECK_CODES
from identity.events.behaviour import FAULT_HINTS
from identity.explaining import STRETCH_REASONS
from identity.openapi.spec import VERDICTS
from identity.refusals import REFUSAL_HINTS
from identity.webhooks.sending import FAULT_HINTS as WEBHOOK_FAULT_HINTS
from profiles.explaining import OUTCOMES
from profiles.remarks import HINTS

LANGUAGES = {"en": "English", "zh-Hant": "繁體中文"}
DEFAULT = "en"
ACCEPTED_MAX = 20
"""Languages of one Accept-Language header that are looked at."""

Say = Callable[..., str]
"""Gives the text of a name, with the values of its braces."""


@cache
def texts(language: str) -> dict[str, str]:
    """Return the texts of a language by name."""
    written = files("identity.admin").joinpath("texts", f"{language}.json").read_bytes()
    held = msgspec.json.decode(written, type=dict[str, str])
    if language != DEFAULT:
        return held
    shared = {f"verdict.{verdict}": text for verdict, text in VERDICTS.items()}
    shared |= {f"hint.{reason}": text for reason, text in HINTS.items()}
    shared |= {f"hint.refusal.{refusal}": text for refusal, text in REFUSAL_HINTS.items()}
    shared |= {f"hint.fault.{code}": text for code, text in FAULT_HINTS.items()}
    shared |= {f"offer.{outcome}": text for outcome, text in OUTCOMES.items()}
    shared |= {f"stretch.{reason}": text for reason, text in STRETCH_REASONS.items()}
    shared |= {f"check.{code}": text for code, text in CHECK_CODES.items()}
    shared |= {f"fault.{fault}": text for fault, text in WEBHOOK_FAULT_HINTS.items()}
    return shared | held


def speaker(language: str) -> Say:
    """Return what gives the texts of a language. One that is not translated is given in English, or as its name."""
    held, fallback = texts(language), texts(DEFAULT)

    def say(name: str, /, *more: str, **values: object) -> str:
        """Return the first of the names that there is a text of, or the last of them."""
        for each in (name, *more):
            text = held.get(each, fallback.get(each))
            if text is not None:
                return text.format(**values) if values else text
        return (name, *more)[-1]

    return say


def choose(cookie: str | None, accepted: str) -> str:
    """Return the language that was chosen, or else the one that the browser asks for."""
    if cookie in LANGUAGES:
        return cookie
    wanted: list[tuple[float, int, str]] = []
    for at, part in enumerate(accepted.split(",")[:ACCEPTED_MAX]):
        tag, _, quality = part.strip().partition(";q=")
        try:
            wanted.append((-float(quality or 1), at, tag.strip().lower()))
        except ValueError:
            continue
    for refused, _, tag in sorted(wanted):
        if refused < 0 and tag.partition("-")[0] in ("en", "zh"):
            # Simplified Chinese is nearer to Traditional than to English.
            return "en" if tag.startswith("en") else "zh-Hant"
    return DEFAULT
