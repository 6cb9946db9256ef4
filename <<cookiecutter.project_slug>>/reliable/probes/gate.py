"""The gate of a deploy: passed when a worker of the new release has answered on every list."""

import time
from collections.abc import Callable
from typing import NamedTuple

from celery import current_app
from django.db import Error

from reliable import provider
from reliable.probes import lists, sql
from reliable.probes.database import Session
from reliable.probes.diagnosis import evidence, judged
from reliable.probes.options import options
from reliable.probes.seen import Picture, Seen, look
from reliable.probes.sender import Sender
from reliable.probes.sentences import seconds
from reliable.probes.states import Hop, Kind, State

# Seconds between two looks, and so between two questions to a list that an old worker has answered.
_PAUSE = 0.2


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
        # Beat asks too, so that an old worker may answer after the new one has.
        self._passed: set[str] = set()

    def wait(self, timeout: float, progress: Callable[[list[Missing]], None]) -> list[Missing]:
        """What is still missing after `timeout` seconds. Raises Django's database errors."""
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
        lists = picture.of(Kind.QUEUE)
        self._passed |= {each.name for each in lists if self._answered(each)}
        missing = [each for each in lists if each.name not in self._passed]
        self.error = ""
        for target in missing:
            try:
                self.sender.ask(target, picture)
            except Error:
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
        return self._answered_by_any(target) and self.release in {"", target.release}

    def _answered_by_any(self, target: Seen) -> bool:
        elapsed = time.monotonic() - self._began
        return target.returned_ago is not None and target.returned_ago < elapsed

    def _why(self, target: Seen, picture: Picture) -> Missing:
        name = target.name
        if self.error:
            return Missing(name, Hop.BROKER, f"{name} cannot be asked: {self.error}")
        workers = picture.of(Kind.WORKER)
        ours = [
            worker
            for worker in workers
            if name in worker.report.queues and self.release in {"", worker.release}
        ]
        if self.release and not ours:
            others = ", ".join(f"{each.name} of {each.release}" for each in workers)
            why = f"no worker of the release {self.release} reads {name}"
            return Missing(name, Hop.QUEUE, f"{why} (workers: {others or 'none'})")
        others_than_workers = [each for each in picture.targets if each.kind != Kind.WORKER]
        verdict = evidence(
            Picture([*others_than_workers, *ours], picture.watched), options(), target
        )
        if self._answered_by_any(target):
            who = f"{target.worker} of {target.release} has answered on {name}"
            why = f"{who}, {ours[0].name} of {self.release} has not: {verdict.why}"
            return Missing(name, verdict.hop or Hop.WORKER, why)
        asked = "" if target.asked_ago is None else f", asked {seconds(target.asked_ago)} ago"
        return Missing(
            name, verdict.hop or Hop.QUEUE, f"{name} has not answered{asked}: {verdict.why}"
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
