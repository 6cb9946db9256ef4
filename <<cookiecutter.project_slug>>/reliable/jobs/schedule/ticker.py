"""Takes ticks: what is due by the database's clock, once over all beats.

ticker = Ticker(app)
seconds = ticker.round()    # again after so many
ticker.close()
"""

import contextlib
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog
from celery import Celery
from django.db import DatabaseError, InterfaceError, connections, transaction

from reliable.jobs.broker import Broker
from reliable.jobs.database import execute, rows
from reliable.jobs.enqueue import enqueue_together
from reliable.jobs.schedule import calls, sql
from reliable.jobs.schedule.due import IN_TIME, Due, due
from reliable.jobs.schedule.presence import Presence
from reliable.queues import DEFAULT_QUEUE
from reliable.schedule import Entry, declared

logger = structlog.stdlib.get_logger("reliable.jobs")

# Seconds between two looks at the database, and before the next try at what did not work.
POLL = 2.0
TRY_AGAIN = 1.0


class _Row(NamedTuple):
    """What sql.ENTRIES returns; `now` is the database's clock."""

    name: str
    timing: str
    last_due: datetime
    paused: bool
    removed: bool
    now: datetime


class _BrokerAway(Exception):  # noqa: N818 - what was seen
    """The broker does not answer: a tick of a plain task stays due."""


class Ticker:
    """One beat's part of the work. Not for several threads."""

    def __init__(self, app: Celery, entries: Mapping[str, Entry] | None = None) -> None:
        self.app = app
        given = declared() if entries is None else entries
        # Plain ones last: they may wait for the broker.
        self.entries = dict(sorted(given.items(), key=lambda each: calls.durable(each[1]) is None))
        self.presence = Presence(self.entries)
        self.broker = Broker(app)
        self._next: dict[str, tuple[datetime, datetime]] = {}
        self._broker_away: Exception | None = None
        self._troubles: set[str] = set()

    def round(self) -> float:
        """Take what is due; return how many seconds may pass until the next round.

        Raises nothing but what ends the process.
        """
        began = time.monotonic()
        self._broker_away = None
        try:
            pause = self._round()
        except (DatabaseError, InterfaceError) as error:
            connections.close_all()  # of this thread
            self._trouble("schedule.database_lost", error)
            return TRY_AGAIN
        self._over("schedule.database_lost", "schedule.database_back")
        return max(0.0, pause - (time.monotonic() - began))

    def close(self) -> None:
        """Leave, so that another release's schedule comes into force at once."""
        with contextlib.suppress(DatabaseError, InterfaceError):  # it does so after a while
            self.presence.stop()
        connections.close_all()
        self.broker.close()

    def _round(self) -> float:
        if not self.presence.in_force():
            return POLL
        pause = POLL
        found = self._entries()
        for name, entry in self.entries.items():
            row = found.get(name)
            # One of another timing: a later schedule has come into force this moment.
            if row is None or row.paused or row.removed or row.timing != entry.timing:
                continue
            seconds = (self._next_tick(entry, row) - row.now).total_seconds()
            if seconds <= 0:
                seconds = 0.0 if self._took(entry, row) else TRY_AGAIN
            pause = min(pause, seconds)
        return pause

    def _next_tick(self, entry: Entry, row: _Row) -> datetime:
        after, tick = self._next.get(row.name, (None, row.now))
        if after != row.last_due:
            tick = entry.next_tick(row.last_due)
            self._next[row.name] = row.last_due, tick
        return tick

    # --- The rows --------------------------------------------------------------------------------

    def _entries(self) -> dict[str, _Row]:
        """The rows by name, those of this schedule as it says."""
        found = self._read()
        tomorrow = timedelta(days=1)
        changed = {
            name: entry.timing
            for name, entry in self.entries.items()
            if (row := found.get(name)) is None
            or row.timing != entry.timing
            or row.removed
            or row.last_due > row.now + tomorrow
        }
        if changed:
            declared = {"names": list(changed), "timings": list(changed.values())}
            for (name,) in rows(sql.ADOPT, {**self.presence.parameters, **declared}):
                logger.info("schedule.starts", entry=name, timing=changed[name])
            found = self._read()
        if any(name not in self.entries and not row.removed for name, row in found.items()):
            known = {**self.presence.parameters, "names": list(self.entries)}
            for (name,) in rows(sql.REMOVE, known):
                logger.info("schedule.removed", entry=name)
        return found

    def _read(self) -> dict[str, _Row]:
        return {row.name: row for row in map(_Row._make, rows(sql.ENTRIES, {}))}

    # --- A tick ----------------------------------------------------------------------------------

    def _took(self, entry: Entry, row: _Row) -> bool:
        """Take what is due of an entry; False if another beat did, or it has to wait."""
        ticks = due(entry, row.last_due, row.now)
        if ticks is None:
            return False
        trouble = f"schedule.tick_failed {row.name}"
        try:
            if calls.durable(entry):
                taken = self._insert(entry, row, ticks)
            else:
                taken = self._send(entry, row, ticks)
        except (DatabaseError, InterfaceError):
            raise
        except _BrokerAway as away:
            self._trouble("schedule.broker_lost", away)
            return False
        except Exception:
            # The other entries go on.
            if trouble not in self._troubles:
                logger.exception("schedule.tick_failed", entry=row.name, task=entry.task)
            self._troubles.add(trouble)
            return False
        self._troubles.discard(trouble)
        if taken and ticks.missed:
            logger.warning(
                "schedule.missed",
                entry=row.name,
                task=entry.task,
                missed=ticks.missed,
                caught_up=sum(row.now - tick > IN_TIME for tick in ticks.run),
            )
        return taken

    def _insert(self, entry: Entry, row: _Row, ticks: Due) -> bool:
        with transaction.atomic():
            if not self._claim(entry, row, ticks):
                return False
            with enqueue_together():
                jobs = [calls.insert(row.name, entry, tick) for tick in ticks.run]
            if jobs:
                execute(sql.NOTE_JOB, {"name": row.name, "job": jobs[-1]})
        for tick, job in zip(ticks.run, jobs, strict=True):
            self._say_ticked(entry, row, tick, job_id=str(job))
        return True

    def _send(self, entry: Entry, row: _Row, ticks: Due) -> bool:
        happens_here = calls.happens_in_beat(self.app, entry)
        producer = None if happens_here else self._producer()
        if not self._claim(entry, row, ticks):
            return False
        for tick in ticks.run:
            try:
                task_id = calls.send(self.app, entry, producer)
            except Exception as error:  # noqa: BLE001 - kombu's and redis-py's have no common one
                # Whether it was sent is not known, and twice would be worse.
                self.broker.close()
                logger.error(  # noqa: TRY400
                    "schedule.not_sent", entry=row.name, task=entry.task, error=str(error)
                )
                break
            if not happens_here:
                self._say_ticked(entry, row, tick, task_id=task_id)
        return True

    def _claim(self, entry: Entry, row: _Row, ticks: Due) -> bool:
        parameters = {
            "name": row.name,
            "timing": entry.timing,
            "seen": row.last_due,
            "due": ticks.last,
            "runs": bool(ticks.run),
            "missed": ticks.missed,
        }
        return bool(rows(sql.TICK, parameters))

    def _producer(self) -> object:
        """A producer that has just had an answer from the broker, asked for once a round."""
        if self._broker_away is None:
            try:
                self.broker.length(DEFAULT_QUEUE)
            except Exception as error:  # noqa: BLE001 - see above
                self.broker.close()
                self._broker_away = error
            else:
                self._over("schedule.broker_lost", "schedule.broker_back")
                return self.broker.producer
        raise _BrokerAway(str(self._broker_away)) from self._broker_away

    # --- What it says ----------------------------------------------------------------------------

    def _say_ticked(self, entry: Entry, row: _Row, tick: datetime, **more: str) -> None:
        late = (row.now - tick).total_seconds()
        logger.info(
            "schedule.ticked",
            entry=row.name,
            task=entry.task,
            due=tick.isoformat(),
            late=round(late, 1),
            **more,
        )

    def _trouble(self, event: str, error: Exception) -> None:
        if event not in self._troubles:
            self._troubles.add(event)
            logger.warning(event, error=str(error).strip())

    def _over(self, event: str, back: str) -> None:
        if event in self._troubles:
            self._troubles.discard(event)
            logger.info(back)
