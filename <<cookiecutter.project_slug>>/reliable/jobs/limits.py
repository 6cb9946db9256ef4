"""The time limits of a body in a message of many, whose parent only knows the sum.

As a worker's parent does for a message: SoftTimeLimitExceeded is raised in the body, and a process
that does not heed it dies soon after. The second comes from a thread of `faulthandler`, which needs
neither the interpreter's lock nor a signal, and writes down where the body hangs.
"""

import faulthandler
import signal
import sys
import time
from types import TracebackType
from typing import Any, Self

from celery.exceptions import SoftTimeLimitExceeded

# Seconds. The thread is started anew when the last start is so long ago, not for each body.
_START_AGAIN = 1.0


class BodyTimeLimitExceeded(SoftTimeLimitExceeded, KeyboardInterrupt):
    """What a body gets. psycopg cancels the statement that runs only if it is an interrupt, too:
    then the session lives on, and with it what the others of the batch have done.
    """


class Limits:
    """Of one body after another, in the main thread of a worker's child.

    with Limits(kill_after=5) as limits:
        with limits.of(60): body()
    """

    def __init__(self, kill_after: float) -> None:
        self.kill_after = kill_after
        self._seconds = 0.0
        self._armed = False
        self._kills_at = 0.0
        self._replaced: Any = None

    def __enter__(self) -> Self:
        self._replaced = signal.signal(signal.SIGALRM, self._alarm)
        return self

    def __exit__(self, *_: object) -> None:
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, self._replaced)

    def of(self, seconds: float) -> "_Armed":
        """A block that may take so long."""
        self._seconds = seconds
        return _Armed(self)

    def arm(self) -> None:
        kills_at = time.monotonic() + self._seconds + self.kill_after
        if not kills_at <= self._kills_at <= kills_at + _START_AGAIN:
            self._kills_at = kills_at + _START_AGAIN
            faulthandler.dump_traceback_later(
                self._seconds + self.kill_after + _START_AGAIN, exit=True, file=sys.__stderr__ or 2
            )
        self._armed = True
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def disarm(self) -> None:
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _alarm(self, *_: object) -> None:
        # One that was sent before the timer was stopped, and is noticed after, is nobody's.
        if self._armed:
            self._armed = False
            raise BodyTimeLimitExceeded(self._seconds)


class _Armed:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def __enter__(self) -> None:
        self.limits.arm()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.limits.disarm()
