"""How many jobs there are of which kind, what waits, runs and ran. Reads the whole table."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Max
from django.db.models.functions import Now

from reliable.jobs import operations, tally
from reliable.jobs.database import rows
from reliable.jobs.models import Attempt, Worker
from reliable.jobs.selection import jobs
from reliable.jobs.states import State

_COUNTS = """
SELECT
    task, queue, state, count(*),
    count(*) FILTER (WHERE state = 'waiting' AND run_at > clock_timestamp()),
    extract(epoch FROM clock_timestamp() - min(run_at) FILTER (
        WHERE state = 'waiting' AND run_at <= clock_timestamp()
    ))::float
FROM reliable_job
GROUP BY task, queue, state
ORDER BY task, queue, state
"""


@dataclass
class Stats:
    tasks: list[dict[str, Any]]
    queues: list[dict[str, Any]]
    running: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    # Since the beginning of that hour.
    since: datetime
    ran_by_queue: list[dict[str, Any]]
    ran_by_task: list[dict[str, Any]]


def stats(since: datetime) -> Stats:
    """What there is now, and what ran since then."""
    tasks: dict[tuple[str, str], dict[str, Any]] = {}
    waits: dict[str, dict[str, Any]] = {}
    for task, queue, state, count, later, oldest in rows(_COUNTS, {}):
        counts = {"task": task, "queue": queue, **dict.fromkeys(map(str, State), 0), "scheduled": 0}
        row = tasks.setdefault((task, queue), counts)
        row[state] = count
        if state == State.WAITING:
            # People mean what could run now.
            row.update(waiting=count - later, scheduled=later)
        if oldest is not None:
            wait = waits.setdefault(queue, {"queue": queue, "due": 0, "oldest_seconds": 0.0})
            wait["due"] += count - later
            if oldest >= wait["oldest_seconds"]:
                wait.update(oldest_seconds=oldest, oldest_task=task)
    for queue in operations.paused():
        waits.setdefault(queue.name, _nothing(queue.name))["paused"] = operations.why_paused(queue)
    for queue in operations.limited():
        waits.setdefault(queue.name, _nothing(queue.name))["limit"] = queue.limit
    return Stats(
        tasks=list(tasks.values()),
        queues=[waits[name] for name in sorted(waits)],
        running=running(),
        attempts=[
            {"outcome": outcome, "task": task, "count": count, "last": last}
            for outcome, task, count, last in Attempt.objects.using(jobs().db)
            .values_list("outcome", "job__task")
            .annotate(count=Count("id"), last=Max("ended_at"))
            .order_by("outcome", "job__task")
        ],
        since=since.replace(minute=0, second=0, microsecond=0),
        ran_by_queue=tally.by_queue(since),
        ran_by_task=tally.by_task(since),
    )


def _nothing(queue: str) -> dict[str, Any]:
    return {"queue": queue, "due": 0, "oldest_seconds": None, "oldest_task": None}


def running() -> list[dict[str, Any]]:
    """The longest first."""
    names = dict(Worker.objects.using(jobs().db).values_list("id", "name"))
    columns = ("id", "task", "queue", "worker", "time_limit")
    found = jobs().filter(state=State.RUNNING).annotate(seconds=Now() - F("started_at"))
    return [
        {**job, "worker": names.get(job["worker"]), "seconds": job["seconds"].total_seconds()}
        for job in found.order_by("started_at").values(*columns, "seconds")
    ]
