"""The scheduler of `celery beat`, chosen by `CELERY_BEAT_SCHEDULER`.

It keeps Celery's process and its signals, and nothing of Celery's schedule: no file, no clock of
the host, and no harm from a second one.
"""

import signal
from types import FrameType
from typing import Any

from celery import beat
from django.core.exceptions import ImproperlyConfigured

from reliable.jobs.schedule.ticker import Ticker


class Scheduler(beat.Scheduler):
    """Ticks what `settings.SCHEDULE` declares; `celery beat` calls `tick` until TERM."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._ticker: Ticker | None = None
        self._at_work = self._stopping = False
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        # Celery's own handler ends whatever is being done: a plain task's tick between the note
        # that it was taken and its message.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Take what is due; return how many seconds to sleep."""
        self._at_work = True
        try:
            if self._ticker is None:
                self._ticker = Ticker(self.app)
            return self._ticker.round()
        finally:
            self._at_work = False
            if self._stopping:
                raise SystemExit(0)

    def close(self) -> None:
        if self._ticker is not None:
            self._ticker.close()

    def add(self, **kwargs: Any) -> Any:
        raise ImproperlyConfigured("Entries of the schedule stand in config/schedule.py.")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        if not self._at_work:
            raise SystemExit(0)
