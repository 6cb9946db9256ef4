"""When a beat looked at the schedule last: for probes, and for whoever asks why nothing ticks."""

from datetime import datetime
from typing import NamedTuple

from reliable.jobs.database import rows
from reliable.jobs.schedule import sql


class LastBeat(NamedTuple):
    """The beat that was seen last, over all hosts.

    A beat is seen every two seconds, whether anything is due or not. seconds: since then, by the
    database's clock. stopped_at: when somebody stopped it; None if it lives or has died.
    """

    host: str
    release: str
    seen_at: datetime
    stopped_at: datetime | None
    seconds: float


def last_beat() -> LastBeat | None:
    """None if no beat has ever run. Raises Django's database errors."""
    found = rows(sql.LAST_BEAT, {})
    return LastBeat(*found[0]) if found else None
