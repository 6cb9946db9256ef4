"""What is to be watched, and how long each may take to answer."""

from collections.abc import Iterable
from typing import Any

from celery import Celery
from kombu import Exchange
from kombu import Queue as List

from reliable import queues

#: Seconds that a list without a promise, or a worker that reads none, may take: warn, critical.
UNDECLARED = (15.0, 60.0)


def lists(app: Celery) -> list[str]:
    """The declared queues that Celery knows, and their lists for durable tasks if it knows those.

    Not what Celery calls queues besides: a Broadcast, for example, is made anew by each worker.
    """
    known: Any = app.amqp.queues
    return [name for name in queues.read_by_workers(queues.declared()) if name in known]


def queue_of(name: str) -> str:
    """The declared queue of a list: `mail` for `mail.jobs`."""
    return queues.of_job_queue(name) or name


def promise(names: Iterable[str]) -> tuple[float, float]:
    """Seconds until who serves these lists is late, and until it is silent."""
    declared = queues.declared()
    latencies = [
        (float(queue["latency"]["warn"]), float(queue["latency"]["critical"]))
        for name in names
        if (queue := declared.get(queue_of(name)))
    ]
    # Who serves several shares its processes between them, so that the most patient decides.
    return max(latencies, default=UNDECLARED)


def direct(worker: str) -> List:
    """The list that one worker alone reads, under Celery's name for it.

    Bound to no exchange: Celery's own leaves a binding in Redis for each worker that ever was.
    """
    name = f"{worker}.dq2"
    return List(name, Exchange(""), routing_key=name, durable=True, auto_delete=False, no_ack=True)
