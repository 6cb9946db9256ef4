"""What the table of targets says of a system, row by row, for tests of pages that show it."""

import math
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from reliable.probes.models import Sample, Target, Transition
from reliable.queues import declared, read_by_workers

RELEASE = "41"
HOST = "web1"


def ago(seconds: float) -> datetime:
    return timezone.now() - timedelta(seconds=seconds)


def target(kind: str, name: str, **columns: Any) -> Target:
    found, _ = Target.objects.update_or_create(kind=kind, name=name, defaults=columns)
    return found


def worker(queue: str, running: tuple[tuple[str, float], ...] = (), **columns: Any) -> Target:
    """A worker of one queue, with two slots; `running`: tasks and their seconds."""
    lists = read_by_workers([queue])
    report = {
        "queues": lists,
        "reading": lists,
        "slots": 2,
        "running": [[task, str(uuid.uuid4()), seconds, 60.0] for task, seconds in running],
    }
    answered: dict[str, Any] = {
        "state": "ok",
        "seen_at": ago(2),
        "sent_at": ago(9),
        "returned_at": ago(9),
        "asked_at": ago(9),
        "latency": 0.03,
        "sent": 5760,
        "returned": 5760,
        "release": RELEASE,
        "report": report,
        "waiting": 0,
        "error": "",
        "error_at": None,
        "token": None,
    }
    return target("worker", f"{queue}@{HOST}", **(answered | columns))


def answering(name: str, **columns: Any) -> Target:
    """A list that answers."""
    answered: dict[str, Any] = {
        "state": "ok",
        "sent_at": ago(9),
        "returned_at": ago(9),
        "asked_at": ago(9),
        "latency": 0.04,
        "waiting": 0,
        "sent": 5760,
        "returned": 5760,
        "error": "",
        "error_at": None,
        "token": None,
        "worker": f"{name.removesuffix('.jobs')}@{HOST}",
        "release": RELEASE,
    }
    return target("queue", name, **(answered | columns))


def healthy() -> None:
    """Beat ticks, every list answers, each queue has a worker, and a day has passed so."""
    target("beat", "beat", state="ok", seen_at=ago(3), release=RELEASE)
    target("relay", f"{HOST}:4711", state="ok", seen_at=ago(2), release=RELEASE)
    busy = {
        "mail": (("orders.tasks.email_receipt", 4.2),),
        "slow": (("orders.tasks.report_day", 21.0),),
    }
    for queue in declared():
        worker(queue, busy.get(queue, ()))
        for name in read_by_workers([queue]):
            answering(name)


def changed(of: Target, before: str, after: str, seconds: float, why: str, **columns: Any) -> None:
    """It did so many seconds ago."""
    Transition.objects.create(
        target=of, before=before, after=after, at=ago(seconds), why=why, **columns
    )


def a_day(queue: str = "", slowest: float = 0.0) -> None:
    """A curve for each queue; `queue` was as slow as `slowest` seconds in the morning."""
    Sample.objects.all().delete()
    samples = []
    for number, name in enumerate(declared()):
        listed = Target.objects.get(kind="queue", name=name)
        for step in range(96):
            usual = 0.03 * (2 + math.sin(step / 7 + number)) * (3 if step % 11 == number else 1)
            slow = name == queue and 40 <= step <= 46
            latency = slowest if slow else usual
            samples.append(Sample(target=listed, at=ago(step * 900 + 20), latency=latency))
    Sample.objects.bulk_create(samples)
    late = Target.objects.get(kind="queue", name="default")
    why = "default took 22 s, and promises 15 s"
    changed(late, "ok", "late", 9200, why, lasted=190_000.0, hop="slots", alarm=True)
    changed(late, "late", "ok", 9050, "default answers in 0.05 s", lasted=150.0, alarm=True)


def silent(queue: str = "mail") -> None:
    """Its worker died a while ago, and its lists have not answered since."""
    why = f"{queue} has not answered for 6 min 52 s: its worker {queue}@{HOST} is dead or frozen"
    for name in read_by_workers([queue]):
        lost = {"sent_at": ago(60), "returned_at": ago(412), "asked_at": ago(397), "waiting": 12}
        mute = answering(name, **lost, state="silent", token=uuid.uuid4(), lost=3, hop="worker")
        Target.objects.filter(pk=mute.pk).update(state_since=ago(292))
        if name == queue:
            changed(mute, "ok", "silent", 292, why, lasted=86400.0, hop="worker", alarm=True)
    worker(queue, state="silent", seen_at=ago(405), sent_at=ago(60), returned_at=ago(412))


def beat_dead() -> None:
    target("beat", "beat", state="silent", seen_at=ago(300))


def broker_down() -> None:
    """Beat could ask nobody, and could not count what waits."""
    Target.objects.filter(kind__in=("queue", "worker")).update(
        error="ConnectionError: Error 111 connecting to 127.0.0.1:6379. Connection refused.",
        error_at=ago(200),
        waiting=None,
        token=None,
        state="unsent",
        state_since=ago(170),
    )
