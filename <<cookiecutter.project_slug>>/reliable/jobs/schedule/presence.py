"""One beat's row: by it others know that it lives, and which schedule is in force."""

import socket
import time
from collections.abc import Mapping
from typing import Any

import structlog
from django.conf import settings

from reliable.jobs.database import execute, rows
from reliable.jobs.schedule import sql
from reliable.schedule import Entry, fingerprint

logger = structlog.stdlib.get_logger("reliable.jobs")

_PURGE_EVERY = 3600.0


class Presence:
    """Each method raises Django's database errors."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.schedule = fingerprint(entries)
        self.beat: int | None = None
        self._in_force = True
        self._purge_at = 0.0

    @property
    def parameters(self) -> dict[str, Any]:
        """For statements that ask whether this schedule is in force."""
        return {"beat": self.beat, "schedule": self.schedule}

    def in_force(self) -> bool:
        """Show a sign of life; return whether no other schedule was started later and is alive."""
        found = rows(sql.SEEN, self.parameters) if self.beat is not None else []
        if not found:
            self.beat = self._begin()
            found = rows(sql.SEEN, self.parameters)
        in_force = bool(found and found[0][0])
        if in_force != self._in_force:
            self._in_force = in_force
            logger.info("schedule.in_force" if in_force else "schedule.stands_by", beat=self.beat)
        self._purge()
        return in_force

    def stop(self) -> None:
        """Let another release's schedule come into force at once."""
        if self.beat is not None:
            execute(sql.STOP, {"beat": self.beat})

    def _begin(self) -> int:
        release = str(getattr(settings, "RELEASE", ""))
        known = {"host": socket.gethostname(), "release": release, "schedule": self.schedule}
        [(beat,)] = rows(sql.BEGIN, known)
        return int(beat)

    def _purge(self) -> None:
        if time.monotonic() >= self._purge_at:
            self._purge_at = time.monotonic() + _PURGE_EVERY
            for statement in (sql.PURGE_ENTRIES, sql.PURGE_BEATS):
                execute(statement, {})
