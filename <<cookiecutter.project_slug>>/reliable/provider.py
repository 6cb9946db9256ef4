"""What a part that keeps tasks in the database tells the operations page, metrics and probes.

`reliable.jobs` registers its provider when it starts, `reliable.probes` asks whoever is registered,
and neither imports the other: both work alone.

    provider.register(JobsProvider())        # in an AppConfig's ready()
    if source := provider.registered(): ...

Each method reads the database, and raises what Django's connection does if that is away. Those that
may read a whole table say so: health checks call none of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

#: Where counts stop: so many, or more.
MOST = 10_000


@dataclass(frozen=True, slots=True)
class Pause:
    """A queue whose tasks do not start. `until` is None until somebody resumes it."""

    since: datetime
    by: str
    why: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Relay:
    """A process that carries tasks from the database to the broker. `seen` is seconds ago."""

    name: str
    release: str
    seen: float


@dataclass(frozen=True, slots=True)
class QueueStats:
    """What waits and runs. `oldest` is the seconds that the oldest due task has waited; `finished`
    counts those that ended in the last minute. waiting, scheduled and failed stop at MOST.
    """

    waiting: int
    scheduled: int
    running: int
    failed: int
    oldest: float | None
    finished: int


@dataclass(frozen=True, slots=True)
class Running:
    """A task that runs now. `limit` is the seconds that it may take."""

    id: str
    task: str
    queue: str
    worker: str
    seconds: float
    limit: float | None


@dataclass(frozen=True, slots=True)
class FailedGroup:
    """Dead letters of one task, exception and place. `key` names the group to retry and discard."""

    key: str
    task: str
    error: str
    count: int
    first: datetime
    last: datetime
    example: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A periodic entry: when it was due last and will be next, and how its last run ended.

    overdue_since: its earliest tick that nobody took in time. missed: how many there have been.
    """

    name: str
    task: str
    schedule: str
    last_due: datetime | None
    next_due: datetime | None
    last_state: str
    paused: bool
    overdue_since: datetime | None = None
    missed: int = 0


class Provider(Protocol):
    """Tasks that the database holds."""

    def paused(self) -> Mapping[str, Pause]:
        """The paused queues by name. Reads a table of a few rows."""

    def relays(self) -> Sequence[Relay]:
        """The relays that have not left. Reads a table of a few rows."""

    def queues(self) -> Mapping[str, QueueStats]:
        """By queue. Reads a bounded part of the table."""

    def limits(self) -> Mapping[str, int]:
        """How many tasks of a queue may run at once, of those with a limit."""

    def running(self) -> Sequence[Running]:
        """The longest first."""

    def failed(self) -> Sequence[FailedGroup]:
        """The largest group first. May read the whole table."""

    def schedule(self) -> Sequence[Entry]:
        """The periodic entries by name."""

    def retry(self, key: str, *, by: str) -> int:
        """Let a group of failed tasks begin anew; return how many there were."""

    def discard(self, key: str, *, by: str) -> int:
        """Take a group of failed tasks out of the dead letters; return how many there were."""

    def pause(self, queue: str, *, by: str, why: str = "", seconds: float | None = None) -> None:
        """Let no task of the queue start, for so long or until somebody resumes it."""

    def resume(self, queue: str, *, by: str) -> None:
        """Let the queue's tasks start again."""


_provider: Provider | None = None


def register(provider: Provider) -> None:
    """Let `provider` answer from now on, in this process."""
    global _provider  # noqa: PLW0603 - one a process
    _provider = provider


def registered() -> Provider | None:
    """Who answers for tasks in the database; None in a project without any."""
    return _provider
