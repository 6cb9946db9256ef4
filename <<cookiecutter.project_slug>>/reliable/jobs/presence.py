"""What a relay says of itself, so that its absence can be seen."""

import os
import socket
import time

from django.conf import settings
from django.db import DatabaseError

from reliable.jobs import sql
from reliable.jobs.database import Session

# Seconds between two signs.
EVERY = 2.0


class Presence:
    """A row for as long as the relay lives; one that was killed leaves its row behind."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.host = socket.gethostname()
        self.name = f"{self.host}:{os.getpid()}"
        self._said_at = 0.0

    def say(self, published: int) -> None:
        """Say that it publishes, every two seconds. Raises DatabaseError."""
        now = time.monotonic()
        if now - self._said_at < EVERY:
            return
        if not self._said_at:
            self._bury()
        self._said_at = now
        self.session.execute(
            sql.RELAY_SEEN,
            {
                "name": self.name,
                "host": self.host,
                "pid": os.getpid(),
                "release": str(getattr(settings, "RELEASE", "")),
                "published": published,
            },
        )

    def leave(self) -> None:
        """Nobody is to miss it. A database that is away learns it from its successor."""
        try:
            self.session.execute(sql.RELAY_LEFT, {"names": [self.name]})
        except DatabaseError:
            return

    def _bury(self) -> None:
        """Its dead predecessors on this host are replaced."""
        here = self.session.rows(sql.RELAYS_OF_HOST, {"host": self.host})
        dead = [name for name, pid in here if not _lives(pid)]
        self.session.execute(sql.RELAY_LEFT, {"names": dead})
        self.session.execute(sql.PURGE_RELAYS)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
