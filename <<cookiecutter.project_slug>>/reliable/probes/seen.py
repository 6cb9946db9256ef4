"""What the table says of each target, in seconds ago, as whoever judges gets it."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from reliable.probes import sql
from reliable.probes.database import Row, rows
from reliable.probes.states import Kind, State


class Running(NamedTuple):
    """A task in a worker's process; `limit` is the seconds that it may take, None without one."""

    task: str
    id: str
    seconds: float
    limit: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker's parent process says of itself.

    queues: what it was started for. reading: what it reads now. slots: its pool's processes.
    unstarted: messages that it took and no process has begun; waited: seconds of the oldest one.
    stopping: seconds since it was told to stop.
    """

    instance: str = ""
    queues: list[str] = field(default_factory=list)
    reading: list[str] = field(default_factory=list)
    not_reading: float = 0.0
    slots: int = 0
    running: list[Running] = field(default_factory=list)
    unstarted: int = 0
    waited: float = 0.0
    stopping: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Report":
        """Of another release it may say more, or less."""
        said = json.loads(text)
        known = {name: value for name, value in said.items() if name in cls.__dataclass_fields__}
        running = [Running(*each) for each in known.pop("running", [])]
        return cls(**known, running=running)

    @property
    def busy(self) -> bool:
        """Each of its processes runs something."""
        return bool(self.slots) and len(self.running) >= self.slots

    @property
    def stuck(self) -> bool:
        """It took a message that no process begins, although one is free."""
        return self.unstarted > 0 and not self.busy


@dataclass(frozen=True, slots=True)
class Seen:
    """A target. Each `…_ago` is in seconds; None: never."""

    id: int
    kind: Kind
    name: str
    state: State
    state_for: float
    created_ago: float
    seen_ago: float | None
    sent_ago: float | None
    returned_ago: float | None
    asked_ago: float | None
    outstanding: bool
    latency: float | None
    error: str
    error_ago: float | None
    waiting: int | None
    sent: int
    returned: int
    expired: int
    lost: int
    lost_in_row: int
    worker: str
    pid: int | None
    release: str
    report: Report


@dataclass(frozen=True, slots=True)
class Picture:
    """All targets at one moment, and for how many seconds somebody has looked without a gap."""

    targets: list[Seen]
    watched: float

    def of(self, kind: Kind) -> list[Seen]:
        return [target for target in self.targets if target.kind == kind]


def look(ask: Callable[[str], Iterable[Row]] = rows) -> Picture:
    """Read the table, on this thread's connection by default."""
    found = []
    watched = None
    for target_id, kind, name, state, *others, report, since in ask(sql.LOOK):
        said = Report.parse(report)
        found.append(Seen(*[target_id, Kind(kind), name, State(state), *others, said]))
        watched = since
    return Picture(found, float("inf") if watched is None else watched)
