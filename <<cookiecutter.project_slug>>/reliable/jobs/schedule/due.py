"""Which ticks of an entry are to be taken now; no clock, no database."""

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

from reliable.schedule import Entry

#: A tick that is older when a beat takes it was missed.
IN_TIME = timedelta(seconds=60)


@dataclass(frozen=True)
class Due:
    """The last tick, those that run, and how many were missed, whether they run or not."""

    last: datetime
    run: tuple[datetime, ...]
    missed: int


def due(entry: Entry, after: datetime, now: datetime) -> Due | None:
    """What is to be done about the ticks in `after` < tick <= `now`; None if there is none.

    The last one runs if it is in time. What else runs, late, `entry.missed` says.
    """
    count = late = 0
    newest: deque[datetime] = deque(maxlen=entry.at_most or 1)
    for tick in entry.ticks(after):
        if tick > now:
            break
        count += 1
        late += now - tick > IN_TIME
        newest.append(tick)
    if not newest:
        return None
    run = tuple(newest)
    if entry.missed == "skip":
        run = tuple(tick for tick in newest if now - tick <= IN_TIME)
    return Due(newest[-1], run, missed=max(late, count - len(run)))
