"""Who takes part: the processes to start, and one round of work for them.

The processes run and are warm. They are frozen, given their work, and thawed at one moment, which
starts the clock: nobody begins before another, and no sending is measured.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from durable.figures import in_turns, say
from durable.stage import Stage

if TYPE_CHECKING:
    from reliable.supervisor.programs import Program
    from reliable.testing.processes import Process

# Seconds for a round.
ROUND_WITHIN = 600.0
# Frozen for so long at least, who sleeps between two looks at his table looks at once when thawed.
FROZEN = 1.5
# Between two looks at how far they are.
LOOK = 0.01


@dataclass
class Score:
    """Of one round: tasks a second, and microseconds of CPU a task, by who spent them.

    steady: tasks a second after the first tenth of them: what a slow start costs is the difference.
    """

    rate: float
    steady: float
    cpu: dict[str, float]


@dataclass
class Contestant:
    """What works off a number of tasks.

    programs: each with what it logs when it is ready.
    fill: enqueues so many.
    ended: what a program logs at the end of each task; or a function that counts them.
    proof: a query that counts what was done in the database, if anything was.
    """

    name: str
    programs: Sequence[tuple["Program", str]]
    fill: Callable[[int], None]
    ended: str | Callable[[], int]
    proof: str = ""
    scores: list[Score] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(score.rate for score in self.scores)

    @property
    def steady(self) -> float:
        return statistics.median(score.steady for score in self.scores)

    @property
    def cpu(self) -> float:
        return statistics.median(sum(score.cpu.values()) for score in self.scores)

    def __str__(self) -> str:
        parts = [
            f"{part} {statistics.median(score.cpu[part] for score in self.scores):,.0f}"
            for part in self.scores[0].cpu
        ]
        rates = ", ".join(f"{score.rate:.0f}" for score in self.scores)
        return (
            f"  {self.name:<22} {self.rate:7.0f}/s ({rates}), {self.steady:.0f}/s after the first"
            f" tenth; CPU {self.cpu:,.0f} µs a task: {', '.join(parts)}"
        )


def compete(stage: Stage, contestants: Sequence[Contestant], count: int, rounds: int) -> None:
    """Let them play in turns, and say what each scored."""

    def turn(contestant: Contestant) -> Callable[[], float]:
        def play() -> float:
            contestant.scores.append(_play(stage, contestant, count))
            return contestant.scores[-1].rate

        return play

    in_turns({each.name: turn(each) for each in contestants}, range(rounds))
    for each in contestants:
        say(str(each))


def _play(stage: Stage, contestant: Contestant, count: int) -> Score:
    from reliable.testing.waiting import wait_until

    stage.clear()
    processes = [stage.start(program, ready) for program, ready in contestant.programs]
    ended = _counter(contestant.ended, processes)
    warm_up = stage.sizes.warm_up
    contestant.fill(warm_up)
    wait_until(
        lambda: ended() >= warm_up, f"the warm-up of {contestant.name}", timeout=ROUND_WITHIN
    )
    for process in processes:
        process.freeze(tree=True)
    frozen = time.monotonic()
    contestant.fill(count)
    _analyze()
    time.sleep(max(0.0, frozen + FROZEN - time.monotonic()))
    before = _cpu(stage, processes)
    begun = time.perf_counter()
    for process in processes:
        process.thaw(tree=True)
    tenth, tenth_at = 0, 0.0
    while (done := ended() - warm_up) < count:
        if not tenth and done >= count / 10:
            tenth, tenth_at = done, time.perf_counter()
        if time.perf_counter() > begun + ROUND_WITHIN:
            words = "\n".join(process.last_words() for process in processes)
            raise SystemExit(f"{contestant.name}: {done} of {count} were done.\n{words}")
        time.sleep(LOOK)
    finished = time.perf_counter()
    after = _cpu(stage, processes)
    stage.end(processes)
    _prove(contestant, warm_up + count)
    spent = {part: (after[part] - before[part]) / count * 1e6 for part in before}
    steady = (count - tenth) / (finished - (tenth_at or begun))
    return Score(count / (finished - begun), steady, spent)


def _counter(ended: str | Callable[[], int], processes: Sequence["Process"]) -> Callable[[], int]:
    if not isinstance(ended, str):
        return ended
    logs = [Log(process.log, ended) for process in processes]
    return lambda: sum(log.count() for log in logs)


class Log:
    """Counts the lines of a growing log that hold a text, without reading any twice."""

    def __init__(self, path: Path, text: str) -> None:
        self.file = path.open("rb")
        self.text = text.encode()
        self.found = 0
        self._rest = b""

    def count(self) -> int:
        *lines, self._rest = (self._rest + self.file.read()).split(b"\n")
        self.found += sum(self.text in line for line in lines)
        return self.found


def _analyze() -> None:
    """As autovacuum does within a minute: plans that were made for an empty table are nobody's."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _cpu(stage: Stage, processes: Sequence["Process"]) -> dict[str, float]:
    """Seconds of CPU until now, of the contestant's processes and of the servers."""
    servers = stage.system.servers.processes
    return {
        "its processes": sum(_seconds(process.pid) for process in processes),
        "PostgreSQL": _seconds(servers["postgresql"].pid),
        "broker": _seconds(servers["broker"].pid),
    }


def _seconds(pid: int) -> float:
    """Of a process and all below it, those that ended included: their parent inherits the time."""
    top = psutil.Process(pid)
    return sum(sum(each.cpu_times()[:4]) for each in [top, *top.children(recursive=True)])


def _prove(contestant: Contestant, count: int) -> None:
    from django.db import connection

    if not contestant.proof:
        return
    with connection.cursor() as cursor:
        cursor.execute(contestant.proof)
        found = cursor.fetchone()[0]
    if found != count:
        raise SystemExit(f"{contestant.name}: {found} of {count} tasks were done.")
