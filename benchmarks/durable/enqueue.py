"""What a call costs its caller: rows in its transaction, beside messages after the commit."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from durable.contestants import enqueue, relay, send
from durable.figures import Figure, in_turns, medians, say
from durable.stage import Stage

# Transactions of one contestant before it is the next one's turn: few, as machines are noisy.
ROUND = 25


def measure(stage: Stage) -> list[Figure]:
    stage.clear()
    with _relay(stage):
        figures = [_one(stage), *_ten(stage)]
    return [*figures, _bulk(stage)]


def _one(stage: Stage) -> Figure:
    from durable.tasks import durable_noop, plain_noop

    added = _added(
        stage,
        {
            "delay": Call(after=lambda: plain_noop.delay(1)),
            "durable": Call(inside=lambda: durable_noop.delay(1)),
        },
    )
    ratio = added["durable"] / added["delay"]
    return Figure("one job, time added", ".delay() after the commit", ratio, 0.5)


def _ten(stage: Stage) -> list[Figure]:
    from reliable.jobs import enqueue_together

    from durable.tasks import durable_noop, plain_noop

    def together() -> None:
        with enqueue_together():
            send(durable_noop, 10)

    added = _added(
        stage,
        {
            "ten delay": Call(after=lambda: send(plain_noop, 10)),
            "enqueue_many": Call(inside=lambda: enqueue(durable_noop, 10)),
            "enqueue_together": Call(inside=together),
        },
    )
    return [
        Figure(
            f"ten jobs by {name}, time added",
            "ten .delay()",
            added[name] / added["ten delay"],
            0.1,
        )
        for name in ("enqueue_many", "enqueue_together")
    ]


def _nothing() -> None: ...


@dataclass(frozen=True)
class Call:
    """What is done inside a transaction, and after its commit."""

    inside: Callable[[], Any] = _nothing
    after: Callable[[], Any] = _nothing

    def seconds(self) -> float:
        """Of a transaction with one INSERT, and the call."""
        from django.db import connection, transaction

        begun = time.perf_counter()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("INSERT INTO orders VALUES (1)")
            self.inside()
        self.after()
        return time.perf_counter() - begun


def _added(stage: Stage, calls: dict[str, Call]) -> dict[str, float]:
    """Seconds that each call adds to the median of a transaction without one."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS orders (number integer)")
    size = min(ROUND, stage.sizes.transactions)

    def play(call: Call) -> Callable[[], float]:
        return lambda: statistics.median(call.seconds() for _ in range(size))

    contestants = {name: play(call) for name, call in {"nothing": Call(), **calls}.items()}
    in_turns(contestants, range(1))  # opens connections
    found = medians(in_turns(contestants, range(max(2, stage.sizes.transactions // size))))
    bare = found.pop("nothing")
    say(f"  {'a transaction with one INSERT':<30} {bare * 1e6:8.0f} µs")
    for name, seconds in found.items():
        say(f"  {name:<30} {(seconds - bare) * 1e6:+8.0f} µs")
    return {name: seconds - bare for name, seconds in found.items()}


@contextlib.contextmanager
def _relay(stage: Stage) -> Iterator[None]:
    """Run a relay: whom a commit wakes is a part of what it costs.

    Without a worker it sends a handful of messages, and then only looks at the list's length.
    """
    process = stage.start(*relay(stage))
    yield
    stage.end([process])


def _bulk(stage: Stage) -> Figure:
    """Many calls at once, commit included."""
    from durable.tasks import durable_noop, plain_noop

    count = stage.sizes.bulk

    def rate(send_all: Callable[[Any, int], None], task: Any) -> Callable[[], float]:
        def a_second() -> float:
            stage.clear()
            begun = time.perf_counter()
            send_all(task, count)
            return count / (time.perf_counter() - begun)

        return a_second

    contestants = {
        "delay": rate(send, plain_noop),
        "enqueue_many": rate(enqueue, durable_noop),
    }
    found = medians(in_turns(contestants, range(stage.sizes.rounds)))
    for name, value in found.items():
        say(f"  {name:<30} {value:8.0f} jobs a second")
    ratio = found["enqueue_many"] / found["delay"]
    return Figure(f"enqueue_many of {count:,}, jobs a second", ".delay()", ratio, 10, at_least=True)
