"""What a worker's parent process does for jobs: it beats, and gives back what it does not hold."""

import atexit
import queue
import threading
import uuid
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import structlog
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals
from celery.worker import state
from celery.worker.request import Request
from django.conf import settings
from django.db import DatabaseError, connections

from reliable.jobs import sql
from reliable.jobs.database import Session
from reliable.jobs.prefetch import OneMore, pace
from reliable.jobs.states import Outcome
from reliable.jobs.transitions import Claim, Ending, give_back
from reliable.queues import of_job_queue

logger = structlog.stdlib.get_logger("reliable.jobs")

#: The header of a message that names several jobs: their ids.
JOBS = "jobs"
#: Seconds between two beats.
BEAT = 2.0
# Seconds between two looks of the pool at its children.
_LOOK = 1.0


@dataclass(slots=True)
class Identity:
    """One start of a worker: its children inherit the id with the fork."""

    id: uuid.UUID = field(default_factory=uuid.uuid4)
    name: str = "not a worker"
    queues: list[str] = field(default_factory=list)
    slots: int = 0


#: This process's. A process that is no worker, such as a test, has an id too.
identity = Identity()


class JobRequest(Request):
    """Celery's view of a message in the parent, which sees a child die before anybody else.

    What Celery would log and store of that is said of the job, once, when it is given back.
    """

    @property
    def job_ids(self) -> frozenset[str]:
        """The jobs that the message names: one, or those of a batch."""
        return frozenset(self.request_dict.get(JOBS) or (self.id,))

    def acknowledge(self) -> None:
        """Say nothing to the broker, which notes nothing of a message from a list of jobs."""
        self.acknowledged = True

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001 - Celery's signature
        if not soft:
            state.task_ready(self)
            _ended(self.job_ids, Outcome.TIMED_OUT, f"It was killed {timeout:g} s after its start.")

    def on_accepted(self, pid: Any, time_accepted: float) -> None:
        super().on_accepted(pid, time_accepted)
        pace.started()

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> None:
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, TimeLimitExceeded):
            return
        if isinstance(error, WorkerLostError):
            state.task_ready(self)
            _ended(self.job_ids, Outcome.CHILD_LOST, str(error))
            return
        super().on_failure(exc_info, *args, **kwargs)


def _ended(job_ids: frozenset[str], outcome: Outcome, error: str) -> None:
    if _heart is not None:
        _heart.ended.put((job_ids, outcome, error))


class Heart(threading.Thread):
    """Beats from a thread and a database session of its own, whatever the worker is busy with.

    Each beat learns what the database believes this worker to hold. A job that runs there, and that
    the parent has no request for now, nor had at the beat before, has ended without a word: a
    failure that could not be written, or a mistake of ours. It is given back. A child's death is
    only a reason to do so at once.
    """

    def __init__(self) -> None:
        super().__init__(name="jobs-heart", daemon=True)
        self.ended: queue.SimpleQueue[tuple[frozenset[str], Outcome, str] | None] = (
            queue.SimpleQueue()
        )
        self.session = Session()
        self._suspects: set[Claim] = set()
        self._held_back: set[str] = set()
        self._silent = False

    def run(self) -> None:
        while True:
            try:
                self.beat()
            except Exception as error:  # noqa: BLE001 - a heart that stops loses all that it holds
                was_silent = self._silent
                self._say_silent(error)
                if not was_silent:
                    continue  # at once, with a new session: only the old one may have died
            try:
                event = self.ended.get(timeout=BEAT)
            except queue.Empty:
                continue
            if event is None:
                self._leave()
                return
            self._give_back_ended(*event)

    def beat(self) -> None:
        """Say that this worker lives, and give back what nobody works on."""
        held = _held()
        believed = self._believed()
        suspects = {claim for claim in believed if str(claim.id) not in held}
        orphans = suspects & self._suspects
        self._suspects = suspects - orphans
        if orphans:
            self._give_back(
                orphans, Outcome.NOT_RECORDED, "Its end could not be written to the database."
            )
        self._offer_held_back()
        if self._silent:
            self._silent = False
            logger.info("worker.beats_again", worker=str(identity.id))

    def stop(self) -> None:
        """Give back, uncounted, what the stop has interrupted, and leave."""
        self.ended.put(None)
        self.join()

    def _leave(self) -> None:
        try:
            self._give_back(self._believed(), Outcome.SHUT_DOWN, "Its worker was stopped.")
            self.session.execute(sql.LEAVE, {"worker": identity.id})
        except DatabaseError as error:
            logger.warning("worker.left_silently", error=str(error).strip())
        finally:
            self.session.close()
            connections.close_all()

    def _offer_held_back(self) -> None:
        """Let others have the jobs whose messages have waited here for a child since a beat ago."""
        held_back = _ids(state.reserved_requests) - _ids(state.active_requests)
        waited = held_back & self._held_back
        self._held_back = held_back - waited
        if waited:
            self.session.execute(sql.OFFER_NOW, {"ids": [uuid.UUID(each) for each in waited]})

    def _believed(self) -> set[Claim]:
        parameters = {
            "worker": identity.id,
            "name": identity.name,
            "release": str(getattr(settings, "RELEASE", "")),
            "queues": identity.queues,
            "slots": identity.slots,
        }
        return {Claim(*row) for row in self.session.rows(sql.BEAT, parameters)}

    def _give_back_ended(self, job_ids: frozenset[str], outcome: Outcome, error: str) -> None:
        if state.should_terminate not in {None, False}:
            return  # by `stop`, uncounted
        try:
            # Not one that another message for the same job works on.
            ended = job_ids - _held()
            claims = {claim for claim in self._believed() if str(claim.id) in ended}
            self._give_back(claims, outcome, error)
        except Exception as problem:  # noqa: BLE001
            self._say_silent(problem)  # two beats later it is given back as not recorded

    def _give_back(self, claims: set[Claim], outcome: Outcome, error: str) -> None:
        if not claims:
            return
        self.session.execute(
            sql.END_SESSIONS,
            {"ids": [each.id for each in claims], "claim_nos": [each.claim_no for each in claims]},
        )
        by_us = outcome == Outcome.SHUT_DOWN
        ending = Ending(outcome, error, counted=not by_us, solo=not by_us)
        give_back(list(claims), identity.id, ending)
        connections.close_all()  # seldom needed, and one for each worker

    def _say_silent(self, error: Exception) -> None:
        connections.close_all()  # of this thread
        if not self._silent:
            self._silent = True
            logger.warning("worker.silent", worker=str(identity.id), error=str(error).strip())


_heart: Heart | None = None


def connect() -> None:
    """Let each worker that reads a queue of jobs beat for as long as it lives."""
    signals.worker_init.connect(_begin, dispatch_uid="reliable.jobs.begin")
    signals.worker_ready.connect(_start, dispatch_uid="reliable.jobs.start")
    signals.worker_shutdown.connect(_stop, dispatch_uid="reliable.jobs.stop")


def _begin(sender: Any, **_: Any) -> None:
    """Before the first fork: the children know whose they are."""
    identity.id = uuid.uuid4()
    identity.name = str(sender.hostname)
    sender.app.steps["consumer"].add(OneMore)
    # Else the worker notes in Redis what it takes, and exits when Redis is full.
    for name, each in sender.app.amqp.queues.items():
        if of_job_queue(name):
            each.no_ack = True
    # A killed child closes its files a moment before it can be waited for: the pool, which is woken
    # by the first, often sees no dead child then, and looks again after five seconds.
    asynpool: Any = import_module("celery.concurrency.asynpool")
    asynpool.AsynPool.timers = property(lambda pool: {pool.maintain_pool: _LOOK})


def _start(sender: Any, **_: Any) -> None:
    global _heart  # noqa: PLW0603 - one a process
    reads = sender.app.amqp.queues.consume_from
    identity.queues = [name for each in reads if (name := of_job_queue(each))]
    identity.slots = sender.controller.concurrency
    if identity.queues:
        _heart = Heart()
        _heart.start()
        # A worker that got SIGQUIT sends no worker_shutdown; a child ends without this.
        atexit.register(_stop)


def _stop(**_: Any) -> None:
    global _heart
    heart, _heart = _heart, None
    if heart is not None:
        heart.stop()


def _held() -> set[str]:
    """The ids of the jobs that this parent has a message of, from its receipt to its end."""
    # A stop and a lost broker empty the first set, and what runs goes on.
    return _ids(state.reserved_requests) | _ids(state.active_requests)


def _ids(requests: Any) -> set[str]:
    """The ids of those that run jobs."""
    while True:
        try:
            return {
                job_id
                for request in list(requests)
                if isinstance(request, JobRequest)
                for job_id in request.job_ids
            }
        except RuntimeError:  # the main thread changed the set meanwhile
            continue
