"""A worker whose jobs are short fetches one before a child is free for it.

With `worker_disable_prefetch` a child that has ended its job waits until its parent has asked the
broker for the next one, which takes as long as a short job does. Here the parent may hold one job
more than it has children, while jobs end within milliseconds. Never a plain task, which nobody else
could take from it; a job that waits behind a long one for two beats is offered to other workers.
"""

import time
from collections import deque
from typing import Any

from celery import bootsteps
from celery.worker import state
from celery.worker.consumer.tasks import Tasks

from reliable.queues import of_job_queue

#: Seconds within which more jobs have started than there are children: short ones, in a row.
SHORT = 0.1
# Seconds that the broker is asked for a job alone: meanwhile a free child gets no plain task.
_ASK = 0.02
# So often in a row, then the lists of plain tasks have their turn too.
_IN_A_ROW = 4


class Pace:
    """The moments at which the latest jobs started, one more than there are children."""

    def __init__(self) -> None:
        self._started: deque[float] = deque(maxlen=2)

    def of(self, children: int) -> None:
        self._started = deque(maxlen=children + 1)

    def started(self) -> None:
        self._started.append(time.monotonic())

    @property
    def short(self) -> bool:
        """Whether a child has had two jobs within SHORT."""
        started = self._started
        return len(started) == started.maxlen and started[0] > time.monotonic() - SHORT


#: This worker's.
pace = Pace()


class OneMore(bootsteps.StartStopStep):
    """Widens what `worker_disable_prefetch` allows, each time that the consumer starts."""

    requires = (Tasks,)

    def start(self, c: Any) -> None:
        if c.app.conf.worker_disable_prefetch:
            pace.of(int(c.pool.num_processes))
            _Appetite(c)


class _Appetite:
    """What the consumer's channel asks the broker for, and when."""

    def __init__(self, consumer: Any) -> None:
        self.consumer = consumer
        self.in_a_row = 0
        channel = consumer.task_consumer.channel
        # kombu has no other way in.
        cycle = channel._queue_cycle  # noqa: SLF001
        self._can_consume = channel.qos.can_consume
        self._queues = cycle.consume
        self._ask = channel._brpop_start  # noqa: SLF001
        channel.qos.can_consume = self.can_consume
        cycle.consume = self.queues
        channel._brpop_start = self.ask  # noqa: SLF001

    @property
    def free(self) -> int:
        """Children without a task; negative when one waits for a child."""
        # As Celery counts them for worker_disable_prefetch.
        most = getattr(self.consumer.controller, "max_concurrency", None)
        children: int = most or self.consumer.pool.num_processes
        return children - len(state.reserved_requests)

    def can_consume(self) -> bool:
        if self.free == 0:
            return pace.short and self.in_a_row < _IN_A_ROW
        return bool(self._can_consume())

    def queues(self, count: int) -> list[str]:
        names: list[str] = self._queues(count)
        return names if self.free > 0 else [name for name in names if of_job_queue(name)]

    def ask(self, timeout: float | None = None) -> None:
        if self.free > 0:
            self.in_a_row = 0
            self._ask(timeout)
        else:
            self.in_a_row += 1
            self._ask(_ASK)
