"""Moments and durations as people write and read them."""

import re
from datetime import datetime, timedelta
from itertools import pairwise

from django.utils import timezone

_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,10}) ?(s|min|m|h|d)?")

#: Ten years: what is meant to last longer is a slip of the finger.
LONGEST = 10 * 366 * 86400


class Refused(ValueError):  # noqa: N818 - what happened
    """Bad input, refused before anything was changed. Its text says what would do."""


def seconds(option: str, text: str) -> int:
    """How many seconds `90`, `90s`, `15m`, `2h`, `1d` are."""
    found = _DURATION.fullmatch(text.strip())
    number = int(found[1]) * _UNITS[found[2] or ""] if found else 0
    if not 1 <= number <= LONGEST:
        raise Refused(f"{option} {text!r} is no duration; write for example 90s, 15m, 2h or 1d.")
    return number


def past(option: str, text: str) -> datetime:
    """A moment, or so long ago."""
    if _DURATION.fullmatch(text.strip()) and not text.strip().isdecimal():
        return timezone.now() - timedelta(seconds=seconds(option, text))
    return moment(option, text, or_else=" or 2h, which is two hours ago")


def moment(option: str, text: str, or_else: str = "") -> datetime:
    """An ISO 8601 moment; in the project's time zone if it names none."""
    try:
        value = datetime.fromisoformat(text.strip())
        return value if value.tzinfo else timezone.make_aware(value)
    except (ValueError, OverflowError) as error:
        example = timezone.localtime().strftime("%Y-%m-%dT%H:%M")
        raise Refused(
            f"{option} {text!r} is no time; write for example {example} (in the time zone"
            f" {timezone.get_current_timezone_name()}){or_else}."
        ) from error


def future(option: str, text: str) -> datetime:
    value = moment(option, text)
    if not 0 < (value - timezone.now()).total_seconds() <= LONGEST:
        raise Refused(
            f"{option} {text!r} is not in the next ten years; it is {local(timezone.now())}."
        )
    return value


def local(value: datetime | None) -> str:
    return timezone.localtime(value).strftime("%Y-%m-%d %H:%M:%S") if value else "-"


def lasting(number: float) -> str:
    """Seconds as people say them: 12 s, 3 min 20 s, 5 h 2 min, 3 d 4 h."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    rest = max(0, round(number))
    for (name, size), (smaller, part) in pairwise(units):
        if rest >= size:
            more = rest % size // part
            return f"{rest // size} {name} {more} {smaller}" if more else f"{rest // size} {name}"
    return f"{rest} s"
