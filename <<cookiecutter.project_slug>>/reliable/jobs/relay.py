"""The relay: marks what is due as published, and only then sends the messages.

    relay = Relay(app)
    relay.run()    # until relay.stop()

A mark that is committed before its message is sent can only make a message late, and a late one is
offered again; a message sent before its mark could be dropped by a worker that cannot yet see why
it came. No transaction is open while it speaks to the broker.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import structlog
from celery import Celery
from django.db import DatabaseError

from reliable import queues
from reliable.jobs import sql
from reliable.jobs.broker import Broker, Offer
from reliable.jobs.database import Session
from reliable.jobs.ear import Ear
from reliable.jobs.parcels import parcels
from reliable.jobs.presence import Presence

logger = structlog.stdlib.get_logger("reliable.jobs")

# Seconds: between two looks when nobody calls; at slots and at what operators said; before the next
# try when a server is away.
POLL = 1.0
LOOK_AROUND = 1.0
TRY_AGAIN = 1.0
# Seconds between two looks at a list while more jobs wait for a place in it.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25
# Messages of one statement and one batch.
BATCH = 500
# Messages that may wait for a queue of which no worker is known: it may have no row yet.
LEAST_WINDOW = 4
# The share of a relay's time that scans from the start may take.
_SCANS_SHARE = 0.05

_LEVELS = list(range(9, -1, -1))
_START = datetime(1, 1, 1, tzinfo=UTC)
_NIL = UUID(int=0)


@dataclass
class Lane:
    """What the relay knows of one queue.

    The window is how many messages may wait: four for each slot, or what was claimed in a second.
    So a million waiting jobs cost the broker a few hundred messages. How many jobs fill it depends
    on how many of them are batched; the last time tells, and one statement's jobs are the most by
    which that can be wrong.
    """

    name: str
    slots: int = 0
    paused: bool = False
    # Running jobs, over all hosts.
    limit: int | None = None
    length: int = 0
    # Claims a second.
    rate: float = 0.0
    looked_at: float = 0.0
    backlog: bool = False
    # Its list is full: until then nobody's call changes anything.
    full_until: float = 0.0
    # Jobs in a message, when some were last published.
    density: float = 1.0
    # Seconds until the next look at most: doubled with each, from the shortest on when the list was
    # empty. The rate is an average, and that of a minute of silence would let a burst's list run
    # dry, and its workers wait, before anybody looks again.
    calm: float = _SHORTEST_PAUSE
    # The last key taken of each priority, and when a scan from the start is due.
    after: dict[int, tuple[datetime, UUID]] = field(default_factory=dict)
    next_start: float = 0.0
    next_offer_again: float = 0.0

    @property
    def window(self) -> int:
        return max(4 * self.slots, round(self.rate), LEAST_WINDOW)

    def jobs(self, messages: int) -> int:
        """How many jobs, in one statement, probably fill so many messages."""
        return min(round(messages * self.density), BATCH)

    def saw(self, length: int, now: float) -> None:
        """Learn from the list's length how many were claimed since the last look."""
        claimed, seconds = max(0, self.length - length), now - self.looked_at
        if not length or (claimed and not self.rate):
            self.calm = _SHORTEST_PAUSE
        if 0 < seconds < POLL * 2:
            weight = min(1.0, seconds / 0.25)
            self.rate += weight * (claimed / seconds - self.rate)
            if not length:
                # It ran dry: a burst after a silence is not to wait for the average.
                self.rate = max(self.rate, claimed / seconds)
        self.length, self.looked_at = length, now

    def pause(self) -> float:
        """Seconds until about half of the list is claimed, while more jobs wait."""
        half = self.length / 2 / self.rate if self.rate else _LONGEST_PAUSE
        pause = min(self.calm, max(_SHORTEST_PAUSE, half))
        self.calm = min(_LONGEST_PAUSE, self.calm * 2)
        return pause


class Relay:
    """Publishes due jobs until it is stopped; several share the work row by row."""

    def __init__(self, app: Celery, names: Sequence[str] | None = None) -> None:
        self.broker = Broker(app)
        self.session = Session()
        self.ear = Ear(self.session)
        self.lanes = {name: Lane(name) for name in names or queues.declared()}
        self.published = 0
        self.presence = Presence(self.session)
        self._looked_around = 0.0
        self._lost: dict[str, str] = {}
        self._stopping = False

    def stop(self) -> None:
        """End after the batch that is being sent; callable from a signal's handler."""
        self._stopping = True
        self.ear.wake()

    def run(self) -> None:
        called: set[str] = set(self.lanes)
        while not self._stopping:
            pause = TRY_AGAIN
            try:
                pause = self.round(called)
            except DatabaseError as error:
                self._says("database", error)
                self.session.close()
                called = set(self.lanes)
            called |= self.listen(pause)
        self.close()

    def close(self) -> None:
        self.broker.close()
        self.presence.leave()
        self.session.close()
        self.ear.close()

    def round(self, called: set[str]) -> float:
        """Look at queues that somebody called for, or whose time has come; return how long to wait.

        Empties `called`. Raises DatabaseError.
        """
        now = time.monotonic()
        # A call for a paused queue may be that of its end.
        resumed = any(self.lanes[name].paused for name in called)
        if resumed or now - self._looked_around >= LOOK_AROUND:
            self._look_around()
            self._looked_around = now
            called.update(self.lanes)
        pause = POLL
        served = False
        for lane in self.lanes.values():
            if lane.paused or not (lane.name in called or lane.backlog):
                continue
            if (rest := lane.full_until - time.monotonic()) > 0:
                pause = min(pause, rest)
                continue
            try:
                pause = min(pause, self._serve(lane))
            except DatabaseError:
                raise
            except Exception as error:  # noqa: BLE001 - kombu's and redis-py's have no common one
                self._says("broker", error)
                self.broker.close()
                return TRY_AGAIN
            served = True
        called.clear()
        self._is_back("database")
        if served:
            self._is_back("broker")
        return pause

    def _serve(self, lane: Lane) -> float:
        now = time.monotonic()
        lane.saw(self.broker.length(lane.name), now)
        room = lane.window
        pause = POLL
        lane.backlog = False
        if lane.limit is not None:
            room = min(room, self._free(lane))
            if room <= 0:
                return pause  # whoever ends calls
        room -= lane.length
        if room > 0 and now >= lane.next_offer_again:
            lane.next_offer_again = now + LOOK_AROUND
            room -= self._publish(lane, self._overdue(lane, lane.jobs(room)))
        while room > 0 and not self._stopping:
            limit = lane.jobs(room)
            from_start = time.monotonic() >= lane.next_start
            due = self._due(lane, limit, from_start=from_start)
            room -= self._publish(lane, due)
            if len(due) < limit:
                if not from_start:
                    # What lies before the last key is seen by the next scan from the start.
                    pause = min(pause, max(0.0, lane.next_start - time.monotonic()))
                    lane.backlog = True
                break
        else:
            lane.backlog = True
            pause = lane.pause()
            lane.full_until = time.monotonic() + pause
        return pause

    def _free(self, lane: Lane) -> int:
        """Places in a queue with a limit; the window's if the limit was removed meanwhile."""
        found = self.session.rows(sql.FREE, {"queue": lane.name})
        return int(found[0][0]) if found else lane.window

    def _due(self, lane: Lane, limit: int, *, from_start: bool) -> list[Offer]:
        if from_start:
            lane.after.clear()
        keys = [lane.after.get(level, (_START, _NIL)) for level in _LEVELS]
        began = time.monotonic()
        found = self.session.rows(
            sql.PUBLISH,
            {
                "queue": lane.name,
                "levels": _LEVELS,
                "run_ats": [run_at for run_at, _ in keys],
                "ids": [job_id for _, job_id in keys],
                "limit": limit,
            },
        )
        ended = time.monotonic()
        if from_start:
            # Dead rows before the first that lives make it dear: then it is done less often.
            lane.next_start = ended + (ended - began) / _SCANS_SHARE
        due = [Offer(*row) for row in found]
        for offer in due:
            key = offer.run_at, offer.id
            lane.after[offer.priority] = max(lane.after.get(offer.priority, key), key)
        return due

    def _overdue(self, lane: Lane, limit: int) -> list[Offer]:
        found = self.session.rows(
            sql.OFFER_AGAIN, {"queue": lane.name, "empty": lane.length == 0, "limit": limit}
        )
        return [Offer(*row) for row in found]

    def _publish(self, lane: Lane, offers: list[Offer]) -> int:
        if not offers:
            return 0
        if lane.limit is not None:
            messages: Sequence[Sequence[Offer]] = [[offer] for offer in offers]
        else:
            messages = parcels(offers, lane.slots)
        lane.density = len(offers) / len(messages)
        try:
            self.broker.publish(messages)
        except BaseException:
            # Some may have arrived: a message for a job that is not marked is as good as any.
            self.session.execute(sql.UNPUBLISH, {"ids": [offer.id for offer in offers]})
            raise
        lane.length += len(messages)
        self.published += len(offers)
        return len(messages)

    def _look_around(self) -> None:
        self.presence.say(self.published)
        slots: dict[str, int] = dict(self.session.rows(sql.SLOTS))
        said = {name: (paused, limit) for name, paused, limit in self.session.rows(sql.SAID)}
        for lane in self.lanes.values():
            lane.slots = int(slots.get(lane.name, 0))
            lane.paused, lane.limit = said.get(lane.name, (False, None))

    def listen(self, seconds: float) -> set[str]:
        """The queues that somebody called for, within so many seconds at most."""
        try:
            heard = self.ear.listen(seconds)
        except DatabaseError as error:
            self._says("ear", error)
            self.ear.close()
            time.sleep(min(seconds, TRY_AGAIN))
            return set(self.lanes)
        self._is_back("ear")
        if sql.CHANGED in heard:
            self._looked_around = 0.0
        called = heard & set(self.lanes)
        if called:
            self._rest(called)
        return called

    def _rest(self, called: set[str]) -> None:
        """While the lists of all who called are full, hear a few calls at once instead of each.

        Else a relay that can do nothing wakes at each commit, and its host's other processes wait
        for it.
        """
        full_until = min(self.lanes[name].full_until for name in called)
        if (rest := min(full_until - time.monotonic(), _SHORTEST_PAUSE)) > 0:
            self.ear.rest(rest)

    def _says(self, what: str, error: Exception) -> None:
        if what not in self._lost:
            self._lost[what] = type(error).__name__
            event = "relay.cannot_listen" if what == "ear" else f"relay.{what}_lost"
            logger.warning(event, error=f"{type(error).__name__}: {error}".strip())

    def _is_back(self, *names: str) -> None:
        for what in names:
            if self._lost.pop(what, None):
                logger.info("relay.listens" if what == "ear" else f"relay.{what}_back")
