"""One attempt at a job: claim, run, finish; in a child of a worker, or in a test."""

import json
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import structlog
from billiard.common import terminate_handler_fired  # type: ignore[attr-defined]
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from django.conf import settings
from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connections,
    transaction,
)
from django.utils import translation
from psycopg.pq import TransactionStatus
from structlog.contextvars import bound_contextvars

from reliable.jobs import sql
from reliable.jobs.arguments import BadArgument, bind, json_text
from reliable.jobs.context import Discard, LostClaim, Run, Snooze, running
from reliable.jobs.database import Row, check, execute, pooled, rows
from reliable.jobs.durable import DurableTask
from reliable.jobs.lookup import find
from reliable.jobs.states import Outcome, State
from reliable.jobs.transitions import Claim, Ending, give_back, job_succeeded
from reliable.redaction import without_secrets

logger = structlog.stdlib.get_logger("reliable.jobs")

T = TypeVar("T")

#: Seconds after its time limit when the child is killed, and after that when the job is given to
#: somebody else whatever its worker says.
KILL_AFTER = 5
DEADLINE_MARGIN = KILL_AFTER + 10

# Seconds between the tries to write down a success while the database is away.
_FINISH_PAUSES = (0.1, 0.5, 1, 2, 4)

# Claims of one job that may meet others at the same place of a queue with a limit, before the relay
# offers it again.
_MOST_RACES = 20

# Seconds until a job is offered again that this release cannot run: doubled each time.
_FIRST_MISFIT, _LONGEST_MISFIT = 1, 300


def run(job_id: UUID, worker: UUID, errors: list[BaseException] | None = None) -> bool:
    """Run a job if it is waiting and due; return whether it was.

    Nothing that the body raises gets out, but for what ends this process; `errors` collects it.
    """
    found = _claim(job_id, worker)
    if not found:
        # Somebody else runs it or has run it, its queue is paused or at its limit, or its caller is
        # changing it.
        logger.debug("job.not_waiting", job_id=str(job_id))
        return False
    attempt = _Attempt(job_id, worker, _Claimed(*found[0]))
    with bound_contextvars(**attempt.log_fields):
        attempt.run()
    if errors is not None and attempt.error is not None:
        errors.append(attempt.error)
    return True


def _claim(job_id: UUID, worker: UUID) -> list[Row]:
    parameters = {
        "id": job_id,
        "worker": worker,
        "margin": DEADLINE_MARGIN,
        "pooled": pooled(),
        "release": str(getattr(settings, "RELEASE", "")),
    }
    connection: Any = connections[DEFAULT_DB_ALIAS]
    # The claim is as good a proof of health as the question that Django would ask before it.
    connection.health_check_done = True
    for _ in range(_MOST_RACES):
        try:
            found = _reconnecting(lambda: rows(sql.CLAIM, parameters))
        except IntegrityError as error:
            if "reliable_job_slot" in str(error):
                continue  # another job has taken the place since a moment
            return []  # another suspect runs in this worker since a moment
        if found:
            return found
        break
    rows(sql.REFUSED, {"id": job_id})
    return []


def _reconnecting(statement: Callable[[], list[T]]) -> list[T]:
    """Run it again on a new connection if the kept one is dead: the database was restarted."""
    try:
        return statement()
    except (InterfaceError, OperationalError):
        connection = connections[DEFAULT_DB_ALIAS]
        if connection.in_atomic_block:
            raise
        connection.close()
        return statement()


class _Claimed(NamedTuple):
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


class _Attempt:
    def __init__(self, job_id: UUID, worker: UUID, row: _Claimed) -> None:
        self.row = row
        self.name = row.task
        self.claim = Claim(job_id, row.claim_no)
        self.worker = worker
        self.error: BaseException | None = None
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

    def run(self) -> None:
        task = self.task
        if task is None:
            self._misfit(f"this release has no durable task {self.name}")
            return
        try:
            named = bind(self.name, task.signature, self.args, self.kwargs)
        except BadArgument as error:
            self._misfit(str(error))
            return
        began = time.monotonic()
        logger.info("job.started")
        try:
            with running(self._run_context(task)) as run, self._language():
                self._body(task, run)
        except LostClaim:
            logger.warning("job.claim_lost")
        except Snooze as snooze:
            self._give_back(
                Ending(Outcome.SNOOZED, str(snooze), counted=False, delay=snooze.seconds)
            )
        except (Discard, Ignore, Reject) as unwanted:
            why = str(unwanted) or type(unwanted).__name__
            self._give_back(Ending(Outcome.FAILED, why, counted=False, final=State.CANCELLED))
        except BaseException as error:
            if terminate_handler_fired():
                # The worker is being ended, by somebody who asked for it: its parent gives the job
                # back, and it does not count.
                raise
            self._failed(task, error, named)
        else:
            milliseconds = round((time.monotonic() - began) * 1000)
            logger.info("job.succeeded", duration_ms=milliseconds)
            job_succeeded.send_robust(sender=self.name, job_id=self.claim.id)

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

    def _finish(self, run: Run, result: Any) -> None:
        try:
            text = json_text(result)
        except ValueError as error:
            raise TypeError(
                f"{self.name} returned a value that cannot be kept: {error}."
            ) from error
        parameters = {**run.fence, "result": text}
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

    def _failed(
        self, task: DurableTask[..., Any], error: BaseException, named: Mapping[str, Any]
    ) -> None:
        self.error = error
        secrets = tuple(named[name] for name in task.secret if name in named)
        reason = without_secrets(f"{type(error).__name__}: {error}", secrets)
        text = without_secrets("".join(traceback.format_exception(error)).rstrip(), secrets)
        timed_out = isinstance(error, SoftTimeLimitExceeded)
        if timed_out:
            reason = f"It took longer than its time limit of {self.row.time_limit} s."
            # Its session may be busy with the statement that took so long, and keep its locks.
            self._end_sessions()
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
        self._give_back(
            Ending(
                Outcome.TIMED_OUT if timed_out else Outcome.FAILED,
                reason,
                traceback=text,
                delay=_seconds(error.when) if isinstance(error, Retry) else None,
                final=final,
                exception=error,
                secrets=secrets,
            )
        )

    def _end_sessions(self) -> None:
        claim = {"ids": [self.claim.id], "claim_nos": [self.claim.claim_no]}
        with suppress(DatabaseError):  # then it cannot be given back either
            _reconnecting(lambda: rows(sql.END_SESSIONS, claim))

    def _misfit(self, why: str) -> None:
        logger.error("job.misfit", reason=why, times=self.row.misfits + 1)
        self._give_back(
            Ending(
                Outcome.MISFIT,
                f"{why} (for a day)" if self.row.misfit_for_a_day else why,
                counted=False,
                delay=min(_LONGEST_MISFIT, _FIRST_MISFIT * 2 ** min(self.row.misfits, 10)),
                final=State.FAILED if self.row.misfit_for_a_day else None,
            )
        )

    def _give_back(self, ending: Ending) -> None:
        try:
            ended = _reconnecting(lambda: give_back([self.claim], self.worker, ending))
        except DatabaseError as error:
            # Not raised: Celery would log it with what the body raised, secrets and all. The parent
            # gives the job back when the database is there again.
            logger.warning("job.end_not_recorded", reason=ending.error, error=str(error).strip())
        else:
            if not ended:
                # It had been committed, and only the answer was lost; or somebody took it away.
                logger.warning("job.end_refused", reason=ending.error)

    def _run_context(self, task: DurableTask[..., Any]) -> Run:
        return Run(
            id=self.claim.id,
            claim_no=self.claim.claim_no,
            worker=self.worker,
            task=self.name,
            atomic=task.atomic,
            attempt=self.row.attempt + 1,
            max_attempts=self.row.max_attempts,
            checkpoint=None if self.row.checkpoint is None else json.loads(self.row.checkpoint),
        )

    def _language(self) -> AbstractContextManager[None]:
        language = self.headers.get("language")
        return translation.override(language) if language else nullcontext()


def _seconds(when: Any) -> float | None:
    return float(when) if isinstance(when, int | float) else None
