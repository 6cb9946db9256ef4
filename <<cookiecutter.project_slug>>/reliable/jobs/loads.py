"""What each queue holds, at a glance: no table is read for it, whatever its size."""

from dataclasses import dataclass
from datetime import datetime

from reliable import queues
from reliable.jobs import sql, sql_counts
from reliable.jobs.database import rows
from reliable.jobs.models import Queue
from reliable.jobs.selection import jobs

#: Jobs that are counted, of a queue.
MOST_COUNTED = 1000

_LEVELS = list(range(9, -1, -1))


@dataclass
class Load:
    """A queue: `due` is one more than MOST_COUNTED if they are more; `slots` of all its workers."""

    name: str
    purpose: str
    declared: bool
    due: int
    oldest: datetime | None
    running: int
    slots: int
    said: Queue


def loads() -> list[Load]:
    """The declared queues, and those that an operator has said something about."""
    known = queues.declared()
    said = {queue.name: queue for queue in Queue.objects.using(jobs().db)}
    slots: dict[str, int] = dict(rows(sql.SLOTS, {}))
    names = [*known, *sorted(said.keys() - known.keys())]
    found = rows(
        sql_counts.QUEUE_LOAD, {"queues": names, "levels": _LEVELS, "most": MOST_COUNTED + 1}
    )
    return [
        Load(
            name=name,
            purpose=str(known[name]["purpose"]) if name in known else "",
            declared=name in known,
            due=min(due, MOST_COUNTED + 1),
            oldest=oldest,
            running=running,
            slots=int(slots.get(name, 0)),
            said=said.get(name) or Queue(name=name),
        )
        for name, due, oldest, running in found
    ]
