"""What `/metrics` says, for Prometheus: read from the tables when it is asked.

Nothing is kept in this process, so that it does not matter which of several web processes answers,
and prometheus_client's multiprocess mode is not needed. Nothing here asks the broker.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder

from reliable import provider, queues
from reliable.probes import sql
from reliable.probes.database import rows
from reliable.probes.health import Health, health
from reliable.probes.mutes import muted
from reliable.probes.options import BUCKETS
from reliable.probes.promises import queue_of
from reliable.probes.states import Kind, State

_CAPPED = f" Counting stops at {provider.MOST}: so many, or more."


class Answer(NamedTuple):
    """What a scrape gets."""

    body: bytes
    content_type: str


def scraped(accept: str = "") -> Answer:
    """All metrics, in the format that the header `Accept` asks for. Raises DatabaseError."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(list(_all())))
    encode, content_type = choose_encoder(accept)
    return Answer(encode(registry), content_type)


class _Collector:
    def __init__(self, metrics: list[Metric]) -> None:
        self.metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self.metrics


def _all() -> Iterator[Metric]:
    how = health()
    yield from _states(how)
    yield from _probes(how)
    yield _latencies()
    yield from _workers(how)
    yield from _watched(how)
    yield from _promises()
    source = provider.registered()
    if source is not None:
        yield from _jobs(source)
        yield from _schedule(source)


def _states(how: Health) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "reliable_probe_state",
        "1 for the state that a target is in, 0 for each other.",
        labels=("kind", "target", "state"),
    )
    failing = GaugeMetricFamily(
        "reliable_probe_failing",
        "A target that does not answer or cannot be asked, with the link of the chain that failed.",
        labels=("kind", "target", "state", "hop"),
    )
    for target, verdict in how.judged:
        for each in State:
            state.add_metric((target.kind, target.name, each), verdict.state == each)
        if verdict.failing:
            failing.add_metric((target.kind, target.name, verdict.state, verdict.hop or ""), 1)
    if not how.of(Kind.BEAT):
        failing.add_metric((Kind.BEAT, "beat", how.beat.state, how.beat.hop or ""), 1)
    yield state
    yield failing
    yield _gauge("reliable_up", "1 if all targets answer, 0 if one does not.", not how.failing)
    yield _gauge("reliable_muted", "1 while alarms are muted, as in a deploy.", muted() is not None)


def _probes(how: Health) -> Iterator[Metric]:
    latency = GaugeMetricFamily(
        "reliable_probe_last_latency_seconds",
        "From the sending of the last probe that returned to its return.",
        labels=("kind", "target"),
    )
    returned = GaugeMetricFamily(
        "reliable_probe_since_return_seconds",
        "Since the last probe returned.",
        labels=("kind", "target"),
    )
    messages = GaugeMetricFamily(
        "reliable_list_messages",
        "Messages in the broker's list when beat looked last; absent while it cannot look.",
        labels=("queue", "list"),
    )
    counters = {
        name: CounterMetricFamily(f"reliable_probe_{name}", text, labels=("kind", "target"))
        for name, text in {
            "sent": "Probes sent.",
            "returned": "Probes that a worker ran.",
            "expired": "Probes that a worker saw too late to run them.",
            "lost": "Probes that never came back.",
        }.items()
    }
    for target, _ in (*how.of(Kind.QUEUE), *how.of(Kind.WORKER)):
        labels = (target.kind, target.name)
        for name, counter in counters.items():
            counter.add_metric(labels, getattr(target, name))
        _add(latency, labels, target.latency)
        _add(returned, labels, target.returned_ago)
        if target.kind == Kind.QUEUE:
            _add(messages, (queue_of(target.name), target.name), target.waiting)
    yield from (latency, returned, messages, *counters.values())


def _latencies() -> Metric:
    found = HistogramMetricFamily(
        "reliable_probe_latency_seconds",
        "From the sending of a probe to its return.",
        labels=("queue", "list"),
    )
    for name, counts, total in rows(sql.LATENCIES):
        sums, so_far = [], 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=False):
            so_far += count
            sums.append((bound, so_far))
        if sums:
            found.add_metric((queue_of(name), name), sums, total)
    return found


def _workers(how: Health) -> Iterator[Metric]:
    about = GaugeMetricFamily(
        "reliable_worker_info", "1; the release of a worker.", labels=("worker", "release")
    )
    numbers = {
        name: GaugeMetricFamily(f"reliable_worker_{name}", text, labels=("worker",))
        for name, text in {
            "slots": "Processes of its pool.",
            "slots_busy": "Of these, how many run a task.",
            "oldest_task_seconds": "For how long its oldest running task has run; 0 if none runs.",
            "since_report_seconds": "Since its parent process reported last.",
        }.items()
    }
    for target, _ in how.of(Kind.WORKER):
        running = target.report.running
        about.add_metric((target.name, target.release), 1)
        for name, value in {
            "slots": target.report.slots,
            "slots_busy": len(running),
            "oldest_task_seconds": max((each.seconds for each in running), default=0.0),
            "since_report_seconds": target.seen_ago,
        }.items():
            _add(numbers[name], (target.name,), value)
    yield from (about, *numbers.values())


def _watched(how: Health) -> Iterator[Metric]:
    ticks = GaugeMetricFamily("reliable_beat_since_tick_seconds", "Since beat ticked last.")
    for target, _ in how.of(Kind.BEAT):
        _add(ticks, (), target.seen_ago)
    relays = GaugeMetricFamily(
        "reliable_relay_since_report_seconds",
        "Since a relay reported last.",
        labels=("relay", "release"),
    )
    for target, _ in how.of(Kind.RELAY):
        _add(relays, (target.name, target.release), target.seen_ago)
    yield from (ticks, relays)


def _promises() -> Iterator[Metric]:
    promise = GaugeMetricFamily(
        "reliable_queue_promise_seconds",
        "From send to start: `warn` is what a queue promises, `critical` is an incident.",
        labels=("queue", "level"),
    )
    for name, queue in queues.declared().items():
        promise.add_metric((name, "warn"), queue["latency"]["warn"])
        promise.add_metric((name, "critical"), queue["latency"]["critical"])
    yield promise


def _jobs(source: provider.Provider) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "reliable_queue_jobs",
        "Durable tasks: `waiting` could start now, `scheduled` later, `failed` are the dead"
        f" letters.{_CAPPED}",
        labels=("queue", "state"),
    )
    oldest = GaugeMetricFamily(
        "reliable_queue_oldest_waiting_seconds",
        "For how long the oldest durable task that could start has waited; 0 if none waits.",
        labels=("queue",),
    )
    finished = GaugeMetricFamily(
        "reliable_queue_finished_per_minute",
        "Durable tasks that ended in the last minute; estimated from the newest if they are many.",
        labels=("queue",),
    )
    found = source.queues()
    nothing = provider.QueueStats(0, 0, 0, 0, None, 0)
    for name in sorted({*queues.declared(), *found}):
        stats = found.get(name, nothing)
        for state in ("waiting", "scheduled", "running", "failed"):
            jobs.add_metric((name, state), getattr(stats, state))
        oldest.add_metric((name,), stats.oldest or 0.0)
        finished.add_metric((name,), stats.finished)
    yield from (jobs, oldest, finished)
    yield from _operators(sorted({*queues.declared(), *found}), source.paused(), source.limits())


def _operators(
    names: list[str], paused: Mapping[str, provider.Pause], limits: Mapping[str, int]
) -> Iterator[Metric]:
    pause = GaugeMetricFamily("reliable_queue_paused", "1 while it is paused.", labels=("queue",))
    limit = GaugeMetricFamily(
        "reliable_queue_limit",
        "How many of its durable tasks may run at once; absent without a limit.",
        labels=("queue",),
    )
    for name in names:
        pause.add_metric((name,), name in paused)
        _add(limit, (name,), limits.get(name))
    yield from (pause, limit)


def _schedule(source: provider.Provider) -> Iterator[Metric]:
    last = GaugeMetricFamily(
        "reliable_schedule_last_tick_timestamp_seconds",
        "The moment for which an entry was ticked last.",
        labels=("entry",),
    )
    overdue = GaugeMetricFamily(
        "reliable_schedule_overdue_seconds",
        "Since an entry's earliest tick that no beat took in time; 0 if there is none.",
        labels=("entry",),
    )
    paused = GaugeMetricFamily(
        "reliable_schedule_paused", "1 while the entry is paused.", labels=("entry",)
    )
    missed = CounterMetricFamily(
        "reliable_schedule_missed", "Ticks that no beat took in time.", labels=("entry",)
    )
    now = datetime.now(UTC)
    for entry in source.schedule():
        since = entry.overdue_since
        late = 0.0 if since is None else max(0.0, (now - since).total_seconds())
        _add(last, (entry.name,), entry.last_due.timestamp() if entry.last_due else None)
        overdue.add_metric((entry.name,), late)
        paused.add_metric((entry.name,), entry.paused)
        missed.add_metric((entry.name,), entry.missed)
    yield from (last, overdue, paused, missed)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _add(family: GaugeMetricFamily, labels: tuple[str, ...], value: float | None) -> None:
    """What is not known is absent, never 0."""
    if value is not None:
        family.add_metric(labels, value)
