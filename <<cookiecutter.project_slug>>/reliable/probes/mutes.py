"""A time in which nobody is told: a deploy says so, and it ends by itself.

It is a row of the database, so that all hosts know. What fails meanwhile and still does at its end
is told then.
"""

from datetime import datetime
from typing import NamedTuple

import structlog

from reliable.probes import sql
from reliable.probes.database import rows

#: Seconds that alarms can be muted at most: who forgets it must not be blind for long.
LONGEST = 3600

logger = structlog.stdlib.get_logger("reliable.probes")


class Mute(NamedTuple):
    """Until when nobody is told, who said so and why."""

    until: datetime
    by: str
    why: str


def mute(seconds: float, *, by: str, why: str) -> Mute:
    """Tell nobody for so long, instead of what was said before. Raises ValueError."""
    if not 0 < seconds <= LONGEST:
        raise ValueError(f"Alarms can be muted for 1 to {LONGEST} seconds, for example 300.")
    found = Mute(*rows(sql.MUTE, {"seconds": seconds, "by": by, "why": why})[0])
    logger.info("alarm.muted", by=by, why=why, seconds=seconds)
    return found


def unmute(*, by: str) -> bool:
    """Tell again at once; False if nothing was muted."""
    ended = bool(rows(sql.UNMUTE))
    if ended:
        logger.info("alarm.unmuted", by=by)
    return ended


def muted() -> Mute | None:
    """What is in force now. Raises DatabaseError."""
    found = rows(sql.MUTED)
    return Mute(*found[0]) if found else None
