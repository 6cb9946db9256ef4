"""What the page says of each queue and each worker."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.conf import settings

from reliable import queues
from reliable.probes import sql
from reliable.probes.admin.curves import POINTS, STEP, Curve, curve
from reliable.probes.database import rows
from reliable.probes.diagnosis import Verdict
from reliable.probes.health import WORST, Health, names
from reliable.probes.options import options
from reliable.probes.promises import promise, queue_of
from reliable.probes.seen import Seen
from reliable.probes.states import Kind, State
from reliable.provider import QueueStats

_NOTHING = QueueStats(waiting=0, scheduled=0, running=0, failed=0, oldest=None, finished=0)


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue: its list of plain tasks and, where there are some, its list of durable ones.

    Times are seconds; None is not known, and never 0. why: a sentence for each list that is not
    well. latency: the slower list's last answer; answered: how long ago the older one came. p95: of
    the last hour. asked: how long an answer is waited for. messages: in the broker, of plain tasks.
    stats: of the database; None without durable tasks. oldest: what is known to wait longest. busy,
    slots: of workers that report.
    """

    name: str
    purpose: str
    state: State
    why: Sequence[str]
    latency: float | None
    answered: float | None
    p95: float | None
    asked: float | None
    curve: Curve
    messages: int | None
    stats: QueueStats | None
    oldest: float | None
    workers: int
    busy: int
    slots: int

    @property
    def paused(self) -> bool:
        return self.state == State.PAUSED


@dataclass(frozen=True, slots=True)
class Slot:
    """A process of a worker's pool; `task` is empty if it is free. Times are seconds."""

    task: str = ""
    seconds: float = 0.0
    limit: float | None = None

    @property
    def over(self) -> bool:
        return self.limit is not None and self.seconds > self.limit


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker. other: its release is not the one of this page's process. seen: seconds ago.

    gone: it has not reported for so long that its slots are not known any more.
    """

    name: str
    state: State
    why: str
    release: str
    other: bool
    reads: Sequence[str]
    slots: Sequence[Slot]
    unstarted: int
    seen: float | None
    gone: bool
    latency: float | None

    @property
    def longest(self) -> Slot | None:
        running = [slot for slot in self.slots if slot.task]
        return max(running, key=lambda slot: slot.seconds, default=None)

    @property
    def busy(self) -> int:
        return sum(bool(slot.task) for slot in self.slots)


def queue_rows(how: Health, stats: Mapping[str, QueueStats] | None) -> list[QueueRow]:
    """In the order of their declaration; what is watched and not declared comes after that."""
    slowest: dict[int, dict[int, float]] = {}
    for target, ago, latency in rows(sql.SLOWEST, {"step": STEP, "seconds": STEP * POINTS}):
        slowest.setdefault(target, {})[ago] = latency
    p95: dict[int, float] = dict(rows(sql.PERCENTILES))
    order = dict.fromkeys([*queues.declared(), *names(how.of(Kind.QUEUE))])
    return [
        _queue(how, name, None if stats is None else stats.get(name, _NOTHING), slowest, p95)
        for name in order
    ]


def _queue(
    how: Health,
    name: str,
    stats: QueueStats | None,
    slowest: Mapping[int, Mapping[int, float]],
    p95: Mapping[int, float],
) -> QueueRow:
    lists = [each for each in how.of(Kind.QUEUE) if queue_of(each[0].name) == name]
    targets = [target for target, _ in lists]
    readers = [
        worker
        for worker, _ in how.of(Kind.WORKER)
        if {target.name for target in targets} & set(worker.report.reading) and _reports(worker)
    ]
    points: dict[int, float] = {}
    for target in targets:
        for ago, latency in slowest.get(target.id, {}).items():
            points[ago] = max(latency, points.get(ago, 0.0))
    asked = _most(target.asked_ago for target in targets if target.outstanding)
    declared = queues.declared().get(name)
    return QueueRow(
        name=name,
        purpose=declared["purpose"] if declared else "not declared in this release",
        state=min((verdict.state for _, verdict in lists), key=WORST.index, default=State.UNKNOWN),
        why=[_said(verdict) for _, verdict in lists if verdict.state != State.OK],
        latency=_most(target.latency for target in targets),
        answered=_most(target.returned_ago for target in targets),
        p95=_most(p95.get(target.id) for target in targets),
        asked=asked,
        curve=curve(points, promise([name])[0]),
        messages=_messages(how, targets, name),
        stats=stats,
        oldest=_most([stats.oldest if stats else None, asked]),
        workers=len(readers),
        busy=sum(len(worker.report.running) for worker in readers),
        slots=sum(worker.report.slots for worker in readers),
    )


def _messages(how: Health, targets: Iterable[Seen], name: str) -> int | None:
    """Of plain tasks; those of durable ones are wake-up calls for what the database counts."""
    for target in targets:
        if target.name == name and target.error_ago is None and how.beat.state == State.OK:
            return target.waiting
    return None


def worker_row(worker: Seen, verdict: Verdict) -> WorkerRow:
    report = worker.report
    busy = [Slot(each.task, each.seconds, each.limit) for each in report.running]
    return WorkerRow(
        name=worker.name,
        state=verdict.state,
        why="" if verdict.state == State.OK else _said(verdict),
        release=worker.release,
        other=worker.release != str(getattr(settings, "RELEASE", "")),
        reads=list(dict.fromkeys(map(queue_of, report.reading))),
        slots=[*busy, *(Slot() for _ in range(report.slots - len(busy)))],
        unstarted=report.unstarted,
        seen=worker.seen_ago,
        gone=not _reports(worker),
        latency=worker.latency,
    )


def _said(verdict: Verdict) -> str:
    # The broker's own words may end as a sentence does.
    return f"{verdict.why.rstrip('.')}."


def _reports(worker: Seen) -> bool:
    return worker.seen_ago is not None and worker.seen_ago <= options().dead


def _most(values: Iterable[float | None]) -> float | None:
    return max((each for each in values if each is not None), default=None)
