"""From the answer to a COMMIT to the first line of the task, on a system that does nothing else."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from durable.contestants import relay, worker
from durable.figures import Figure, in_turns, say
from durable.stage import Stage

# Seconds until a started task must have said so.
START_WITHIN = 30.0


def measure(stage: Stage) -> list[Figure]:
    from durable.tasks import durable_start, plain_start

    stage.clear()
    processes = [stage.start(*worker(stage)), stage.start(*relay(stage))]
    committed: dict[str, float] = {}
    contestants = {
        "delay_on_commit": _call(plain_start.delay_on_commit, "plain", committed),
        "durable": _call(durable_start.delay, "durable", committed),
    }
    in_turns(contestants, range(10))  # opens connections
    found = in_turns(contestants, range(stage.sizes.commits))
    stage.end(processes)
    middle = {name: statistics.median(values) for name, values in found.items()}
    for name, values in found.items():
        late = statistics.quantiles(values, n=10)[-1]
        say(f"  {name:<30} p50 {middle[name] * 1e3:6.2f} ms  p90 {late * 1e3:6.2f} ms")
    ratio = middle["durable"] / middle["delay_on_commit"]
    return [Figure("commit to start, p50", "delay_on_commit", ratio, 1.6)]


def _call(
    delay: Callable[[str], Any], side: str, committed: dict[str, float]
) -> Callable[[], float]:
    from django.db import connection, transaction
    from reliable.testing.events import here
    from reliable.testing.waiting import wait_until

    from durable.bodies import one_insert

    def seconds() -> float:
        name = f"{side} {len(committed)}"

        def note() -> None:
            committed[name] = time.monotonic()

        with transaction.atomic():
            one_insert(1)
            # The first hook: it runs when the commit has been answered, before Celery's own.
            transaction.on_commit(note)
            delay(name)
        # It looks each 50 ms: in between, and after the task, nothing is done.
        events = wait_until(
            lambda: [event for event in here().all() if event.subject == name],
            f"the start of {name}",
            timeout=START_WITHIN,
        )
        return float(events[0].time - committed[name])

    connection.ensure_connection()
    return seconds
