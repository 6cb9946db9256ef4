"""How long one request or task waits, in all, for a broker that does not answer.

A broker that is down costs the first dispatch two seconds (`socket_timeout`), which a visitor
bears; the tenth would cost twenty. So after a failure the rest is given up, and after a second of
slow answers too: with one more attempt that makes three, however many tasks a request sends.
"""

import threading
import time
from typing import Any

from celery.signals import task_postrun, task_prerun
from django.core.signals import request_finished, request_started

# Seconds.
ENOUGH = 1.0
SLOW = 0.1  # faster answers do not count: a healthy broker takes 10,000 tasks of one request
ANOTHER_CHANCE = 10.0


class BrokerTooSlow(Exception):  # noqa: N818 - what was seen, not what was raised
    """Earlier tasks of this request took so long to send that this one was not tried."""


class Patience(threading.local):
    """What this thread has waited for the broker since its request or task began.

    Outside of both, in a management command, the broker gets another chance every ten seconds.
    """

    def __init__(self) -> None:
        self._lost: Exception | None = None
        self._lost_at = 0.0
        self.end()

    def begin(self, **signal: Any) -> None:
        """A request or task begins."""
        self._bounded = True
        self._forget()

    def end(self, **signal: Any) -> None:
        self._bounded = False
        self._forget()

    @property
    def lost(self) -> Exception | None:
        """Why no further task is to be tried; None while there is patience."""
        if not self._bounded and time.monotonic() > self._lost_at + ANOTHER_CHANCE:
            self._forget()
        return self._lost

    def failed(self, error: Exception) -> None:
        self._lost, self._lost_at = error, time.monotonic()

    def waited(self, seconds: float) -> None:
        """A task was sent, and took so long."""
        if seconds > SLOW:
            self._seconds += seconds
        if self._seconds > ENOUGH:
            self.failed(BrokerTooSlow(f"the broker took {self._seconds:.1f} s for earlier tasks"))

    def _forget(self) -> None:
        self._seconds = 0.0
        self._lost = None


patience = Patience()
request_started.connect(patience.begin, dispatch_uid="reliable.patience")
request_finished.connect(patience.end, dispatch_uid="reliable.patience")
task_prerun.connect(patience.begin, dispatch_uid="reliable.patience")
task_postrun.connect(patience.end, dispatch_uid="reliable.patience")
