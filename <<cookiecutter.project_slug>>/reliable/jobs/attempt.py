"""A claim, and what becomes of it in this process: the body, its finish, or what follows else."""

import json
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple, cast
from uuid import UUID

import structlog
from billiard.common import terminate_handler_fired  # type: ignore[attr-defined]
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    InterfaceError,
    OperationalError,
    connections,
    transaction,
)
from django.utils import translation
from psycopg.pq import TransactionStatus

from reliable.connections import own_transactions
from reliable.jobs import sql
from reliable.jobs.arguments import BadArgument, bind, json_text
from reliable.jobs.context import Discard, LostClaim, Run, Snooze, running
from reliable.jobs.database import check, execute, reconnecting
from reliable.jobs.durable import DurableTask
from reliable.jobs.limits import Limits
from reliable.jobs.lookup import find
from reliable.jobs.states import Outcome, State
from reliable.jobs.transitions import Claim, Ending, end_sessions, give_back, job_succeeded
from reliable.redaction import without_secrets

logger = structlog.stdlib.get_logger("reliable.jobs")

# Seconds between the tries to write down a success while the database is away.
_FINISH_PAUSES = (0.1, 0.5, 1, 2, 4)

# Seconds until a job is offered again that this release cannot run: doubled each time.
_FIRST_MISFIT, _LONGEST_MISFIT = 1, 300


class Claimed(NamedTuple):
    """What sql.CLAIM returns; JSON as text."""

    claim_no: int
    task: str
    queue: str
    args: str
    kwargs: str
    attempt: int
    max_attempts: int
    time_limit: int
    headers: str
    checkpoint: str | None
    misfits: int
    misfit_for_a_day: bool | None
    limited: bool


class Attempt:
    """A claim, and what becomes of it in this process."""

    def __init__(self, job_id: UUID, worker: UUID, row: Claimed) -> None:
        self.row = row
        self.name = row.task
        self.claim = Claim(job_id, row.claim_no)
        self.worker = worker
        self.error: BaseException | None = None
        self.named: Mapping[str, Any] = {}
        self.args: list[Any] = json.loads(row.args)
        self.kwargs: dict[str, Any] = json.loads(row.kwargs)
        self.headers: dict[str, Any] = json.loads(row.headers)
        self.task: DurableTask[..., Any] | None = find(row.task, row.queue, self.headers)
        self.log_fields = {
            **({"request_id": self.headers["request_id"]} if "request_id" in self.headers else {}),
            "job_id": str(job_id),
            "task": self.name,
            "queue": row.queue,
            "attempt": row.attempt + 1,
        }

    def run(self, limits: Limits | None = None) -> None:
        """Run it alone, to its end."""
        if (misfit := self.misfit()) is not None:
            self.give_back(misfit)
            return
        task = self.fitting
        began = time.monotonic()
        logger.info("job.started")
        try:
            with (
                own_transactions(),
                self.context() as run,
                limits.of(self.row.time_limit) if limits else nullcontext(),
            ):
                self._body(task, run)
        except LostClaim:
            logger.warning("job.claim_lost")
        except BaseException as error:
            if terminate_handler_fired():
                # The worker is being ended, by somebody who asked for it: its parent gives the job
                # back, and it does not count.
                raise
            ending = self.ending(error)
            if ending.outcome == Outcome.TIMED_OUT:
                # Its session may be busy with the statement that took so long, and keep its locks.
                end_sessions([self.claim])
            self.give_back(ending)
        else:
            milliseconds = round((time.monotonic() - began) * 1000)
            logger.info("job.succeeded", duration_ms=milliseconds)
            job_succeeded.send_robust(sender=self.name, job_id=self.claim.id)

    @property
    def secrets(self) -> tuple[Any, ...]:
        return tuple(self.named[name] for name in self.fitting.secret if name in self.named)

    @property
    def fitting(self) -> DurableTask[..., Any]:
        """The task of a job that is no misfit."""
        return cast("DurableTask[..., Any]", self.task)

    def misfit(self) -> Ending | None:
        """Why this release cannot run it; None if it can."""
        if self.task is None:
            return self._misfit(f"this release has no durable task {self.name}")
        try:
            self.named = bind(self.name, self.task.signature, self.args, self.kwargs)
        except BadArgument as error:
            return self._misfit(str(error))
        return None

    def ending(self, error: BaseException) -> Ending:
        """What follows from what the body raised."""
        if isinstance(error, Snooze):
            return Ending(Outcome.SNOOZED, str(error), counted=False, delay=error.seconds)
        if isinstance(error, Discard | Ignore | Reject):
            why = str(error) or type(error).__name__
            return Ending(Outcome.FAILED, why, counted=False, final=State.CANCELLED)
        return self._failed(error)

    def _body(self, task: DurableTask[..., Any], run: Run) -> None:
        if not task.atomic:
            result = task(*self.args, **self.kwargs)
            self._finish_patiently(run, result)
            return
        committed = False

        def note() -> None:
            nonlocal committed
            committed = True

        try:
            with transaction.atomic():
                # The first hook: it runs when the commit has been answered.
                transaction.on_commit(note)
                result = task(*self.args, **self.kwargs)
                self._finish(run, result)
        except Exception:
            if not committed:
                raise
            # An on_commit hook of the body: what the job did is there, and stays.
            logger.exception("job.hook_failed")

    def json_of(self, result: Any) -> str:
        try:
            return json_text(result)
        except ValueError as error:
            raise TypeError(
                f"{self.name} returned a value that cannot be kept: {error}."
            ) from error

    def _finish(self, run: Run, result: Any) -> None:
        parameters = {**run.fence, "result": self.json_of(result)}
        connection: Any = connections[DEFAULT_DB_ALIAS]
        raw = connection.connection
        if connection.in_atomic_block and raw.info.transaction_status == TransactionStatus.IDLE:
            # The body has done nothing here, so that no transaction has begun: none is needed.
            raw.autocommit = True
            try:
                finished = execute(
                    sql.FINISH_ALONE_LIMITED if self.row.limited else sql.FINISH_ALONE, parameters
                )
            finally:
                raw.autocommit = False
        else:
            finished = execute(sql.FINISH_LIMITED if self.row.limited else sql.FINISH, parameters)
        if finished.rowcount != 1:
            raise LostClaim(f"job {run.id}")

    def _finish_patiently(self, run: Run, result: Any) -> None:
        """Finish outside of a transaction: a restart of the database costs no repetition."""
        for pause in (*_FINISH_PAUSES, None):
            check()
            try:
                self._finish(run, result)
            except OperationalError as error:
                if pause is None:
                    raise
                logger.warning("job.finish_waits", error=str(error).strip())
                time.sleep(pause)
            else:
                return

    def _failed(self, error: BaseException) -> Ending:
        self.error = error
        task = self.fitting
        reason = without_secrets(f"{type(error).__name__}: {error}", self.secrets)
        text = without_secrets("".join(traceback.format_exception(error)).rstrip(), self.secrets)
        timed_out = isinstance(error, SoftTimeLimitExceeded)
        if timed_out:
            reason = f"It took longer than its time limit of {self.row.time_limit} s."
        if isinstance(error, RuntimeError) and "durable atomic block" in str(error):
            reason = (
                "The body opens atomic(durable=True), but is part of a transaction itself: set"
                " atomic=False at the task, or leave durable=True out."
            )
        final = None
        if isinstance(error, Exception) and not timed_out and not isinstance(error, Retry):
            # A database that went away is no reason to give up, whatever the task knows of.
            passing = (*task.retry_for, InterfaceError, OperationalError)
            retries = isinstance(error, passing) and not isinstance(error, task.give_up_on)
            final = None if retries else State.FAILED
        return Ending(
            Outcome.TIMED_OUT if timed_out else Outcome.FAILED,
            reason,
            traceback=text,
            delay=_seconds(error.when) if isinstance(error, Retry) else None,
            final=final,
            exception=error,
            secrets=self.secrets,
        )

    def _misfit(self, why: str) -> Ending:
        logger.error("job.misfit", reason=why, times=self.row.misfits + 1)
        return Ending(
            Outcome.MISFIT,
            f"{why} (for a day)" if self.row.misfit_for_a_day else why,
            counted=False,
            delay=min(_LONGEST_MISFIT, _FIRST_MISFIT * 2 ** min(self.row.misfits, 10)),
            final=State.FAILED if self.row.misfit_for_a_day else None,
        )

    def give_back(self, ending: Ending) -> None:
        try:
            ended = reconnecting(lambda: give_back([self.claim], self.worker, ending))
        except DatabaseError as error:
            # Not raised: Celery would log it with what the body raised, secrets and all. The parent
            # gives the job back when the database is there again.
            logger.warning("job.end_not_recorded", reason=ending.error, error=str(error).strip())
        else:
            if not ended:
                # It had been committed, and only the answer was lost; or somebody took it away.
                logger.warning("job.end_refused", reason=ending.error)

    @contextmanager
    def context(self) -> Iterator[Run]:
        """What a body may ask for: `current_job()`, its caller's language."""
        language = self.headers.get("language")
        with (
            running(self._as_run) as run,
            translation.override(language) if language else nullcontext(),
        ):
            yield run

    @cached_property
    def _as_run(self) -> Run:
        return Run(
            id=self.claim.id,
            claim_no=self.claim.claim_no,
            worker=self.worker,
            task=self.name,
            atomic=self.fitting.atomic,
            attempt=self.row.attempt + 1,
            max_attempts=self.row.max_attempts,
            checkpoint=None if self.row.checkpoint is None else json.loads(self.row.checkpoint),
            due=datetime.fromisoformat(self.headers["due"]) if "due" in self.headers else None,
        )


def _seconds(when: Any) -> float | None:
    return float(when) if isinstance(when, int | float) else None
