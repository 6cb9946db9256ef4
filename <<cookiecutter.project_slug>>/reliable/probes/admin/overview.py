"""Everything that the operations page shows, read once.

Only PostgreSQL is asked, so that the page is the same with the broker down: what beat saw in the
broker's lists is in the table, and is unknown where beat could not look.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.utils import timezone

from reliable import provider, queues
from reliable.probes import sql
from reliable.probes.admin.chain import Link, links
from reliable.probes.admin.curves import POINTS, STEP, Curve, curve
from reliable.probes.admin.sentence import Sentence, sentence
from reliable.probes.database import rows
from reliable.probes.diagnosis import Verdict
from reliable.probes.health import WORST, Health, Judged, health, names
from reliable.probes.models import Transition
from reliable.probes.options import options
from reliable.probes.promises import promise, queue_of
from reliable.probes.seen import Seen
from reliable.probes.states import Kind, State
from reliable.provider import Entry, FailedGroup, QueueStats

_TRANSITIONS = 20
_GROUPS = 20


@dataclass(frozen=True, slots=True)
class Row:
    """A queue. Times are seconds; None is not known, and never 0.

    why: of each of its lists that is not well. latency: the slower list's last answer. p95: of the
    last hour. messages: in the broker's list of plain tasks. stats: of the database, None without
    durable tasks. oldest: of either that is known. busy, slots: processes of live workers.
    """

    name: str
    purpose: str
    state: State
    why: Sequence[str]
    latency: float | None
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
    """A process of a worker's pool; `task` is empty if it is free."""

    task: str = ""
    seconds: float = 0.0
    limit: float | None = None

    @property
    def over(self) -> bool:
        return self.limit is not None and self.seconds > self.limit


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker. other: its release is not the one of this page's process."""

    name: str
    state: State
    why: str
    release: str
    other: bool
    reads: Sequence[str]
    slots: Sequence[Slot]
    unstarted: int
    seen: float | None
    latency: float | None

    @property
    def longest(self) -> Slot | None:
        running = [slot for slot in self.slots if slot.task]
        return max(running, key=lambda slot: slot.seconds, default=None)

    @property
    def busy(self) -> int:
        return sum(bool(slot.task) for slot in self.slots)


@dataclass(frozen=True, slots=True)
class Overview:
    """The page. failed and schedule are None in a project without durable tasks."""

    at: datetime
    sentence: Sentence
    links: Sequence[Link]
    queues: Sequence[Row]
    workers: Sequence[WorkerRow]
    failed: Sequence[FailedGroup] | None
    more_groups: int
    schedule: Sequence[Entry] | None
    transitions: Sequence[Transition]

    @property
    def durable(self) -> bool:
        return self.failed is not None


def overview() -> Overview:
    """How everything is now. Raises DatabaseError."""
    began = time.perf_counter()
    how = health()
    milliseconds = (time.perf_counter() - began) * 1000
    source = provider.registered()
    stats = source.queues() if source else None
    failed = list(source.failed()) if source else None
    listed = _queues(how, stats)
    return Overview(
        at=timezone.now(),
        sentence=sentence(how, listed, failed or []),
        links=links(how, jobs=source is not None, milliseconds=milliseconds),
        queues=listed,
        workers=[_worker(*each) for each in how.of(Kind.WORKER)],
        failed=None if failed is None else failed[:_GROUPS],
        more_groups=max(0, len(failed or []) - _GROUPS),
        schedule=source.schedule() if source else None,
        transitions=list(Transition.objects.select_related("target").order_by("-at")[:_TRANSITIONS]),
    )


def _queues(how: Health, stats: Mapping[str, QueueStats] | None) -> list[Row]:
    lists = how.of(Kind.QUEUE)
    slowest: dict[int, dict[int, float]] = {}
    for target, ago, latency in rows(sql.SLOWEST, {"step": STEP, "seconds": STEP * POINTS}):
        slowest.setdefault(target, {})[ago] = latency
    p95: dict[int, float] = dict(rows(sql.PERCENTILES))
    nobody_looks = how.beat.state != State.OK
    # In the order of their declaration; what was declared once, and is still watched, after that.
    order = [*queues.declared(), *names(lists)]
    return [
        _queue(
            name,
            [each for each in lists if queue_of(each[0].name) == name],
            how.of(Kind.WORKER),
            slowest,
            p95,
            None if stats is None else stats.get(name, _NOTHING),
            nobody_looks=nobody_looks,
        )
        for name in dict.fromkeys(order)
    ]


_NOTHING = QueueStats(waiting=0, scheduled=0, running=0, failed=0, oldest=None, finished=0)


def _queue(
    name: str,
    lists: Sequence[Judged],
    workers: Sequence[Judged],
    slowest: Mapping[int, Mapping[int, float]],
    p95: Mapping[int, float],
    stats: QueueStats | None,
    *,
    nobody_looks: bool,
) -> Row:
    declared = queues.declared().get(name)
    targets = [target for target, _ in lists]
    its_names = {target.name for target in targets}
    readers = [
        worker
        for worker, _ in workers
        if its_names & set(worker.report.reading) and _reports(worker)
    ]
    points: dict[int, float] = {}
    for target in targets:
        for ago, latency in slowest.get(target.id, {}).items():
            points[ago] = max(latency, points.get(ago, 0.0))
    plain = next((target for target in targets if target.name == name), None)
    blind = plain is None or nobody_looks or plain.error_ago is not None
    asked = _most(target.asked_ago for target in targets if target.outstanding)
    states = [verdict.state for _, verdict in lists] or [State.UNKNOWN]
    return Row(
        name=name,
        purpose=declared["purpose"] if declared else "not declared in this release",
        state=min(states, key=WORST.index),
        why=_whys(lists),
        latency=_most(target.latency for target in targets),
        p95=_most(p95.get(target.id) for target in targets),
        asked=asked,
        curve=curve(points, promise([name])[0]),
        messages=None if blind or plain is None else plain.waiting,
        stats=stats,
        oldest=_most([stats.oldest if stats else None, asked]),
        workers=len(readers),
        busy=sum(len(worker.report.running) for worker in readers),
        slots=sum(worker.report.slots for worker in readers),
    )


def _whys(lists: Sequence[Judged]) -> list[str]:
    return [_said(verdict) for _, verdict in lists if verdict.state != State.OK]


def _said(verdict: Verdict) -> str:
    # The broker's own words may end as a sentence does.
    return f"{verdict.why.rstrip('.')}."


def _reports(worker: Seen) -> bool:
    return worker.seen_ago is not None and worker.seen_ago <= options().dead


def _worker(worker: Seen, verdict: Verdict) -> WorkerRow:
    report = worker.report
    busy = [Slot(each.task, each.seconds, each.limit) for each in report.running]
    free = [Slot() for _ in range(max(0, report.slots - len(busy)))]
    ours = str(getattr(settings, "RELEASE", ""))
    return WorkerRow(
        name=worker.name,
        state=verdict.state,
        why="" if verdict.state == State.OK else _said(verdict),
        release=worker.release,
        other=worker.release != ours,
        reads=_reads(report.reading),
        slots=[*busy, *free],
        unstarted=report.unstarted,
        seen=worker.seen_ago,
        latency=worker.latency,
    )


def _reads(lists: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(map(queue_of, lists)))


def _most(values: Iterable[float | None]) -> float | None:
    return max((each for each in values if each is not None), default=None)
