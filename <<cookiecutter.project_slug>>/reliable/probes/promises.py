"""How long a list may take to answer, from the declaration of the queues."""

from collections.abc import Iterable

from reliable import queues

#: Seconds that a list without a promise, or a worker that reads none, may take: warn, critical.
UNDECLARED = (15.0, 60.0)


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
