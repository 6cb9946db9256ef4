"""What somebody has to do now and then: whichever relay gets the duty's lock."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from django.db import connections

from reliable.jobs import retention, sql, tally, transitions
from reliable.jobs.database import Session
from reliable.jobs.states import Outcome
from reliable.jobs.transitions import Claim, Ending, give_back

logger = structlog.stdlib.get_logger("reliable.jobs")

# Seconds between two rounds, and until a worker whose beat does not move is dead.
EVERY = 2.0
DEAD_AFTER = 15.0
# Rows of one statement.
AT_ONCE = 500
# Seconds of a round in which finished jobs are deleted.
PURGE_FOR = 0.5


class Duties(threading.Thread):
    """A relay's second thread, with a session of its own: reap, expire, resume, adopt,
    tally, purge.
    """

    def __init__(self) -> None:
        super().__init__(name="jobs-duties", daemon=True)
        self.session = Session()
        self.reaper = Reaper(self.session)
        self.walks = retention.walks()
        self._unfinished: list[retention.Walk] = []
        self._stopping = threading.Event()
        self._lost = False

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.round()
            except Exception as error:  # noqa: BLE001 - without duties nothing comes back
                connections.close_all()  # of this thread
                self.session.close()
                if not self._lost:
                    logger.warning("relay.duties_wait", error=str(error).strip())
                self._lost = True
            else:
                self._lost = False
            self._stopping.wait(EVERY)
        self.session.close()
        connections.close_all()

    def round(self) -> None:
        """Each duty once, unless another relay is at it."""
        self.reaper.look()
        for duty, work in {
            "reap": self.reaper.take,
            "expire": self._expire,
            "resume": self._resume,
            "adopt": self._adopt,
            "tally": self._tally,
        }.items():
            self._alone(duty, work)
        self._purge()

    def _alone(self, duty: str, work: Callable[[], Any]) -> None:
        raw = self.session.raw
        with self.session.connection.wrap_database_errors, raw.transaction():
            [(mine,)] = self.session.rows(sql.TRY_LOCK, {"duty": duty})
            if mine:
                work()

    def _expire(self) -> None:
        transitions.expire(self.session, AT_ONCE)

    def _purge(self) -> None:
        """A step of each walk, and more of them for as long as the round allows."""
        end = time.monotonic() + PURGE_FOR
        self._unfinished = self.walks
        while self._unfinished and time.monotonic() < end and not self._stopping.is_set():
            walks, self._unfinished = self._unfinished, []
            self._alone("purge", partial(self._step, walks))

    def _step(self, walks: list[retention.Walk]) -> None:
        self._unfinished = [walk for walk in walks if walk.step(self.session)]

    def _tally(self) -> None:
        tally.tally(self.session)

    def _resume(self) -> None:
        for name, _ in self.session.rows(sql.RESUME):
            logger.info("queue.resumed", queue=name, reason="its pause has ended")

    def _adopt(self) -> None:
        # A claim that did not see yet that its queue has a limit.
        self.session.execute(sql.ADOPT)


@dataclass(slots=True)
class _Seen:
    """A sign of life, and for how many seconds it has not changed."""

    sign: Any
    seconds: float = 0.0


@dataclass(slots=True)
class _Held:
    """A running job: whether it may kill workers, is in a batch, and how long it may take."""

    suspect: bool
    batched: bool
    seconds_allowed: float


class Reaper:
    """Gives back what dead workers hold, and what runs past its deadline.

    It counts time itself, on the monotonic clock and through one unbroken session: the database's
    clock may be stepped, and after a restart of the database every beat is old. A round that took
    long counts as a short one, since the workers may have waited for the same database.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._sessions = 0
        self._looked_at = 0.0
        self._workers: dict[UUID, _Seen] = {}
        self._jobs: dict[Claim, _Seen] = {}
        self._held: dict[UUID, dict[Claim, _Held]] = {}

    def look(self) -> None:
        found = self.session.rows(sql.RUNNING)
        now = time.monotonic()
        if self.session.sessions != self._sessions:
            self._sessions = self.session.sessions
            self._workers, self._jobs = {}, {}
            self._looked_at = now
        passed = min(now - self._looked_at, 2 * EVERY)
        self._looked_at = now
        beats: dict[UUID, Any] = {}
        self._held = {}
        for worker, beat, job_id, claim_no, suspect, batched, seconds in found:
            beats[worker] = beat
            held = self._held.setdefault(worker, {})
            if job_id is not None:
                held[Claim(job_id, claim_no)] = _Held(suspect, batched, seconds)
        claims = {claim: True for held in self._held.values() for claim in held}
        self._workers = _older(self._workers, beats, passed)
        self._jobs = _older(self._jobs, claims, passed)

    def take(self) -> None:
        """Give back what nobody will finish; ends the sessions that hold its locks."""
        for worker, seen in list(self._workers.items()):
            held = self._held[worker]
            if seen.seconds >= DEAD_AFTER:
                logger.warning("worker.lost", worker=str(worker), jobs=len(held))
                self._bury(worker, held)
                continue
            late = [
                claim
                for claim, job in held.items()
                if self._jobs[claim].seconds > job.seconds_allowed
            ]
            why = "It ran past its deadline."
            self._give_back(worker, late, Ending(Outcome.TIMED_OUT, why, solo=True))

    def _bury(self, worker: UUID, held: "dict[Claim, _Held]") -> None:
        """Charge who ran alone, or was the only suspect; of several, each may have been it.

        Those of a batch run solo next, and are suspects only if that takes another worker along.
        """
        suspects = [claim for claim, job in held.items() if job.suspect]
        guilty = suspects if len(suspects) == 1 else list(held) if len(held) == 1 else []
        batched = [claim for claim, job in held.items() if job.batched]
        guilty = [claim for claim in guilty if claim not in batched]
        others = [claim for claim in held if claim not in guilty and claim not in batched]
        why = "Its worker has gone without a word."
        self._give_back(worker, guilty, Ending(Outcome.WORKER_LOST, why, suspect=True))
        self._give_back(
            worker, others, Ending(Outcome.WORKER_LOST, why, counted=False, suspect=True)
        )
        self._give_back(worker, batched, Ending(Outcome.WORKER_LOST, why, solo=True))
        self.session.execute(sql.LEAVE, {"worker": worker})
        del self._workers[worker]

    def _give_back(self, worker: UUID, claims: list[Claim], ending: Ending) -> None:
        if not claims:
            return
        self.session.execute(
            sql.END_SESSIONS,
            {"ids": [each.id for each in claims], "claim_nos": [each.claim_no for each in claims]},
        )
        give_back(claims, worker, ending)
        connections.close_all()  # seldom needed, and one for each relay


def _older(seen: dict[Any, _Seen], signs: dict[Any, Any], passed: float) -> dict[Any, _Seen]:
    """What is still there, with the time for which its sign has not changed."""
    return {
        key: _Seen(sign, old.seconds + passed)
        if (old := seen.get(key)) is not None and old.sign == sign
        else _Seen(sign)
        for key, sign in signs.items()
    }
