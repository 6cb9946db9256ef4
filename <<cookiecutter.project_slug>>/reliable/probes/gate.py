"""The gate of a deploy: passed when a worker of the new release has answered on every list."""

import time
from collections.abc import Callable
from typing import NamedTuple

from celery import current_app
from django.db import DatabaseError

from reliable import provider
from reliable.probes import lists, sql
from reliable.probes.beat import Sender
from reliable.probes.database import Session
from reliable.probes.diagnosis import evidence, judged, seconds
from reliable.probes.options import options
from reliable.probes.seen import Picture, Seen, look
from reliable.probes.states import Hop, Kind, State

# Seconds between two questions to a list that an old worker has answered.
_PAUSE = 0.5


class Missing(NamedTuple):
    """What has not answered, which link failed, and a sentence."""

    name: str
    hop: Hop
    why: str


class Gate:
    """Asks by itself, whatever beat does, and says what is missing when the time is over.

    release: who must answer; empty for whoever does.
    """

    def __init__(self, release: str) -> None:
        self.release = release
        self.session = Session()
        self.sender = Sender(self.session)
        self.error = ""
        self._began = time.monotonic()

    def wait(self, timeout: float, progress: Callable[[list[Missing]], None]) -> list[Missing]:
        """What is still missing after `timeout` seconds. Raises DatabaseError."""
        self.session.rows(sql.DECLARE, {"names": lists.declared(current_app)})
        try:
            while True:
                missing = self._round()
                if not missing or time.monotonic() - self._began >= timeout:
                    return missing
                progress(missing)
                time.sleep(_PAUSE)
        finally:
            self.sender.close()
            self.session.close()

    def _round(self) -> list[Missing]:
        picture = look(self.session.rows)
        missing = [each for each in picture.of(Kind.QUEUE) if not self._answered(each)]
        self.error = ""
        for target in missing:
            try:
                self.sender.ask(target, picture)
            except DatabaseError:
                raise
            except Exception as error:  # noqa: BLE001 - kombu's and redis-py's have no common one
                self.sender.close()
                self.error = f"{type(error).__name__}: {error}".strip()
                break
        return [
            *self._beat(picture),
            *self._relay(picture),
            *(self._why(each, picture) for each in missing),
        ]

    def _answered(self, target: Seen) -> bool:
        elapsed = time.monotonic() - self._began
        return (
            target.returned_ago is not None
            and target.returned_ago < elapsed
            and self.release in {"", target.release}
        )

    def _why(self, target: Seen, picture: Picture) -> Missing:
        name = target.name
        if self.error:
            return Missing(name, Hop.BROKER, f"{name} cannot be asked: {self.error}")
        ours = [
            worker
            for worker in picture.of(Kind.WORKER)
            if name in worker.report.queues and self.release in {"", worker.release}
        ]
        others = sorted({f"{each.name} of {each.release}" for each in picture.of(Kind.WORKER)})
        if self.release and not ours:
            return Missing(
                name,
                Hop.QUEUE,
                f"no worker of the release {self.release} reads {name}"
                f" (workers: {', '.join(others) or 'none'})",
            )
        seen = Picture(
            [*(each for each in picture.targets if each not in picture.of(Kind.WORKER)), *ours],
            picture.watched,
        )
        verdict = evidence(seen, options(), target)
        asked = (
            f"it was asked {seconds(target.sent_ago)} ago" if target.sent_ago else "it was asked"
        )
        return Missing(
            name, verdict.hop or Hop.QUEUE, f"{name} has not answered, {asked}: {verdict.why}"
        )

    def _beat(self, picture: Picture) -> list[Missing]:
        for target, verdict in judged(picture, options()):
            if target.kind == Kind.BEAT and verdict.state == State.OK:
                return []
        return [Missing("beat", Hop.BEAT, "beat does not tick, so nobody will ask in future")]

    def _relay(self, picture: Picture) -> list[Missing]:
        source = provider.registered()
        if source is None:
            return []
        alive = [
            relay
            for relay in source.relays()
            if relay.seen < options().dead and self.release in {"", relay.release}
        ]
        of = f" of the release {self.release}" if self.release else ""
        why = f"no relay{of} publishes, so durable tasks wait in the database"
        return [] if alive else [Missing("relay", Hop.RELAY, why)]
