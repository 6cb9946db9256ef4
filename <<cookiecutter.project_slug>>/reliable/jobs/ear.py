"""How a relay hears that somebody has enqueued."""

import os
import select
import time
from typing import Any
from uuid import UUID

import structlog

from reliable.jobs import sql
from reliable.jobs.database import Session, listening_alias

logger = structlog.stdlib.get_logger("reliable.jobs")

# Seconds between two tests of the ear, and until a test call must have been heard.
ECHO_EVERY = 30.0
ECHO_WITHIN = 3.0


class Ear:
    """Hears `NOTIFY` on a session of its own, and tests that it does: `voice`, another, calls.

    A pooler in transaction mode accepts LISTEN and forgets it: the relay then polls, and says so.
    """

    def __init__(self, voice: Session) -> None:
        # Not its own session: behind a pooler that may hear itself, by chance, and nobody else.
        self.voice = voice
        self.session = Session(listening_alias())
        self._sessions = 0
        self._echo = ""
        self._echo_due = 0.0
        self._next_echo = 0.0
        self.deaf = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)

    def wake(self) -> None:
        """End the current `listen`; callable from a signal's handler."""
        os.write(self._wake_write, b"\0")

    def listen(self, seconds: float) -> set[str]:
        """The queues that were called within so many seconds; returns at the first call."""
        with self.session.connection.wrap_database_errors:
            return self._listen(self.session.raw, seconds)

    def rest(self, seconds: float) -> None:
        """Hear nothing for so long, except `wake`; what is called meanwhile is heard after it."""
        select.select([self._wake_read], [], [], seconds)

    def close(self) -> None:
        self.session.close()

    def _listen(self, raw: Any, seconds: float) -> set[str]:
        if self.session.sessions != self._sessions:
            self.session.execute(f"LISTEN {sql.CHANNEL}")
            self._sessions = self.session.sessions
            self._next_echo = 0.0
        self._test()
        heard = self._heard(raw)
        if not heard:
            select.select([raw.fileno(), self._wake_read], [], [], seconds)
            heard = self._heard(raw)
        return heard

    def _heard(self, raw: Any) -> set[str]:
        heard = {notify.payload for notify in raw.notifies(timeout=0)}
        if self._echo in heard:
            heard.discard(self._echo)
            self._echo = ""
            if self.deaf:
                self.deaf = False
                logger.info("relay.hears_again")
        return heard

    def _test(self) -> None:
        now = time.monotonic()
        if self._echo and now > self._echo_due and not self.deaf:
            self.deaf = True
            logger.warning(
                "relay.deaf",
                consequence="It polls: a job starts up to a second later.",
                cure="A pooler in transaction mode swallows LISTEN: name a database with a direct"
                " connection in RELIABLE_LISTEN_DATABASE.",
            )
        if now >= self._next_echo:
            self._next_echo = now + ECHO_EVERY
            self._echo_due = now + ECHO_WITHIN
            self._echo = f"echo {UUID(bytes=os.urandom(16))}"
            self.voice.execute(
                "SELECT pg_notify(%(channel)s, %(echo)s)",
                {"channel": sql.CHANNEL, "echo": self._echo},
            )
