"""What a running body can ask and say: `current_job()`, and exceptions that are no failures."""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from django.db import transaction

from reliable.jobs import ids, sql
from reliable.jobs.arguments import json_text
from reliable.jobs.database import Parameters, Row, Session, execute

# Seconds between two statements of `progress()`, and of `cancelled`.
_PAUSE = 1.0


class Snooze(Exception):  # noqa: N818 - a request, not an error
    """Run again in so many seconds; nothing is counted, and an atomic body is rolled back."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"again in {seconds:g} s")
        self.seconds = seconds


class Discard(Exception):  # noqa: N818
    """End this job as cancelled, for a reason: it is no longer wanted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LostClaim(Exception):  # noqa: N818
    """Somebody else owns the job: it was cancelled, or taken from a worker that seemed dead."""


class NoJob(RuntimeError):  # noqa: N818
    """There is no current job: the function was called, not run by a worker."""


@dataclass(slots=True)
class Run:
    """One attempt at a job, in the process that runs it.

    due: the moment of the schedule's tick that this job is, in UTC, however late it runs; None of a
        job that is no tick.
    """

    id: UUID
    claim_no: int
    worker: UUID
    task: str
    atomic: bool
    attempt: int
    max_attempts: int
    checkpoint: Any = None
    due: datetime | None = None
    _children: Counter[tuple[str, str]] = field(default_factory=Counter)
    _said: float = -_PAUSE
    _asked: float = -_PAUSE
    _cancelled: bool = False

    @property
    def fence(self) -> dict[str, Any]:
        return {"id": self.id, "claim_no": self.claim_no, "worker": self.worker}

    @property
    def idempotency_key(self) -> str:
        """The same in each attempt, and of no other job: for services that refuse a repetition."""
        return str(self.id)

    @property
    def cancelled(self) -> bool:
        """Whether somebody cancelled this job or took it away; asks at most once a second."""
        if not self._cancelled and time.monotonic() - self._asked >= _PAUSE:
            self._asked = time.monotonic()
            self._cancelled = not _beside().rows(sql.STILL_MINE, self.fence)
        return self._cancelled

    def progress(self, data: Any) -> None:
        """Show people how far it is: any JSON. At once, whatever becomes of the body's transaction;
        what is said within a second of the last time is dropped.
        """
        if time.monotonic() - self._said < _PAUSE:
            return
        self._said = time.monotonic()
        if not _beside().rows(sql.PROGRESS, {**self.fence, "data": json_text(data)}):
            self._cancelled = True

    @contextlib.contextmanager
    def step(self, data: Any) -> Iterator[None]:
        """A transaction for a part of the work, with `data` as the new checkpoint.

            for rows in chunks(after=job.checkpoint):
                with job.step(rows[-1].id): ...

        The part's effects, its checkpoint and the proof that the job is still ours are committed
        together, so that each part has its effects once. The next attempt finds the last `data` in
        `checkpoint`. Raises LostClaim.
        """
        if self.atomic:
            raise RuntimeError(f"{self.task} is one transaction: step() needs atomic=False.")
        text = json_text(data)
        with transaction.atomic():
            yield
            if execute(sql.CHECKPOINT, {**self.fence, "data": text}).rowcount != 1:
                raise LostClaim(f"job {self.id}")
        self.checkpoint = json.loads(text)

    def child_id(self, task: str, arguments: str) -> UUID:
        """The id of the job that the body enqueues here, whichever attempt gets here."""
        self._children[task, arguments] += 1
        return ids.of_child(self.id, task, arguments, self._children[task, arguments])


class Beside(Protocol):
    """Where `progress` and `cancelled` speak to the database: not in the body's transaction."""

    def rows(self, statement: str, parameters: Parameters | None = None, /) -> list[Row]: ...


_current: ContextVar[Run | None] = ContextVar("reliable.jobs.run", default=None)
#: One a process, opened when it is first used; `run_jobs` puts the test's own connection here.
beside: ContextVar[Beside | None] = ContextVar("reliable.jobs.beside", default=None)


def current_job() -> Run:
    """The job that this code runs for. Raises NoJob outside of one."""
    run = _current.get()
    if run is None:
        raise NoJob("There is no current job: the function was called directly.")
    return run


def current_run() -> Run | None:
    return _current.get()


@contextlib.contextmanager
def running(run: Run) -> Iterator[Run]:
    token = _current.set(run)
    try:
        yield run
    finally:
        _current.reset(token)


def _beside() -> Beside:
    session = beside.get()
    if session is None:
        session = Session()
        beside.set(session)
    return session
