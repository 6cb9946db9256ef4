"""How long finished jobs are kept, by state and by task; and their end.

RELIABLE_JOBS_KEPT = {
    "succeeded": 3 * 86400,                        # every task
    "orders.tasks.charge": 365 * 86400,            # this one, in every state
    "orders.tasks.count": {"succeeded": 3600},       # this one, in this state
}
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from reliable.jobs import sql
from reliable.jobs.database import Session
from reliable.jobs.states import FINISHED, State

#: Seconds that finished jobs are kept, by state.
KEPT: dict[str, float] = {
    State.SUCCEEDED: 7 * 86400,
    State.CANCELLED: 30 * 86400,
    State.EXPIRED: 30 * 86400,
    State.FAILED: 90 * 86400,
}

# Rows that one statement looks at, and the share of them that it may delete is all.
_AT_ONCE = 500
# Seconds between two walks from the start: what was discarded, or is kept for less since a restart,
# lies behind the key of the last one.
_WALK_AGAIN = 86400.0

_START = datetime(1, 1, 1, tzinfo=UTC)
_NIL = UUID(int=0)


@dataclass
class Walk:
    """The jobs that ended in a state and are kept equally long, from the oldest on.

    Those of other tasks, which may be kept for a year, lie between them in the index. The walk goes
    on from the key that it has reached, and so passes over each of these once a day, not in every
    round. `tasks` are those that it is for; or if `others`, those that it is not for.
    """

    state: str
    seconds: float
    tasks: tuple[str, ...]
    others: bool
    after: tuple[datetime, UUID] = (_START, _NIL)
    began: float = 0.0

    def step(self, session: Session) -> bool:
        """Delete some; return whether there may be more now."""
        now = time.monotonic()
        if not self.began or now - self.began >= _WALK_AGAIN:
            self.after, self.began = (_START, _NIL), now
        found = session.rows(
            sql.PURGE,
            {
                "state": self.state,
                "seconds": self.seconds,
                "tasks": list(self.tasks),
                "others": self.others,
                "after": self.after[0],
                "after_id": self.after[1],
                "limit": _AT_ONCE,
            },
        )
        if not found:
            return False
        [(finished_at, job_id, passed)] = found
        self.after = finished_at, job_id
        return int(passed) == _AT_ONCE


def walks() -> list[Walk]:
    """What to delete when, from RELIABLE_JOBS_KEPT. Raises ImproperlyConfigured."""
    kept, of_tasks = _settings()
    found = []
    for state in map(str, FINISHED):
        special = {task: times[state] for task, times in of_tasks.items() if state in times}
        found.append(Walk(state, kept[state], tuple(special), others=True))
        for seconds in sorted(set(special.values())):
            tasks = tuple(task for task, each in special.items() if each == seconds)
            found.append(Walk(state, seconds, tasks, others=False))
    return found


def _settings() -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    kept: dict[str, float] = {str(state): seconds for state, seconds in KEPT.items()}
    of_tasks: dict[str, dict[str, float]] = {}
    for name, value in getattr(settings, "RELIABLE_JOBS_KEPT", {}).items():
        if name in kept:
            kept[name] = _seconds(name, value)
        elif isinstance(value, Mapping):
            for state in value:
                if state not in kept:
                    raise ImproperlyConfigured(
                        f"RELIABLE_JOBS_KEPT[{name!r}]: {state!r} is no state in which a job ends;"
                        f" there are {', '.join(kept)}."
                    )
            of_tasks[name] = {state: _seconds(name, each) for state, each in value.items()}
        elif "." in name:
            of_tasks[name] = dict.fromkeys(kept, _seconds(name, value))
        else:
            raise ImproperlyConfigured(
                f"RELIABLE_JOBS_KEPT: {name!r} is no state in which a job ends"
                f" ({', '.join(kept)}), and no task, such as orders.tasks.charge. For a task whose"
                ' name has no dot write {"succeeded": seconds}.'
            )
    return kept, of_tasks


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ImproperlyConfigured(
            f"RELIABLE_JOBS_KEPT[{name!r}]: {value!r} is no number of seconds; a day is 86400."
        )
    return float(value)
