"""Changes of state, each with its log line."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from django.db import DatabaseError, transaction
from django.dispatch import Signal

from reliable.jobs import failures, sql
from reliable.jobs.database import Session, reconnecting, rows
from reliable.jobs.states import Outcome, State

logger = structlog.stdlib.get_logger("reliable.jobs")

#: Sent once for each job that ended as `failed`. Arguments: `sender`, the task's name; `job_id`;
#: `reason`, a sentence; `error`, the exception if this process has it; `secrets`, what must not be
#: shown of it.
job_failed = Signal()

#: Sent once for each job that has succeeded, after its commit, by the process that ran it.
#: Arguments: `sender`, the task's name; `job_id`.
job_succeeded = Signal()


class Claim(NamedTuple):
    """Who held which job: the fence."""

    id: UUID
    claim_no: int


class Ended(NamedTuple):
    """A job whose claim was given back."""

    id: UUID
    task: str
    queue: str
    state: str
    attempt: int
    max_attempts: int
    headers: str
    delay: float


@dataclass(frozen=True)
class Ending:
    """How a claim ended without success.

    error: a sentence for people. counted: whether it counts against max_attempts. delay: seconds
    until it may run again; None is the task's backoff. final: end in this state, whatever is left
    of the attempts. suspect: it may have killed its worker. solo: if it ran in a batch, the others
    may be to blame: it is not counted, and runs alone from now on. exception, secrets: what to
    report, and what to leave out of it.
    """

    outcome: Outcome
    error: str
    traceback: str = ""
    counted: bool = True
    delay: float | None = None
    final: State | None = None
    suspect: bool = False
    solo: bool = False
    exception: BaseException | None = None
    secrets: tuple[Any, ...] = ()


def give_back(claims: Sequence[Claim], worker: UUID, ending: Ending) -> list[Ended]:
    """End claims without success: the jobs wait again, or have failed for good.

    Claims that somebody else took meanwhile are left alone. `on_failed` is enqueued in the same
    transaction.
    """
    parameters = {
        "ids": [claim.id for claim in claims],
        "claim_nos": [claim.claim_no for claim in claims],
        "worker": worker,
        "outcome": str(ending.outcome),
        "counted": ending.counted,
        "error": ending.error,
        "traceback": ending.traceback,
        "exception": failures.kind(ending.outcome, ending.exception),
        "place": failures.place(ending.exception),
        "delay": ending.delay,
        "final": ending.final and str(ending.final),
        "suspect": ending.suspect,
        "solo": ending.solo,
    }
    with transaction.atomic():
        ended = [Ended(*row[:8]) for row in rows(sql.GIVE_BACK, parameters)]
        failed = [job for job in ended if job.state == State.FAILED]
        for job in failed:
            _enqueue_on_failed(job)
    for job in ended:
        _log(job, ending)
    for job in failed:
        job_failed.send_robust(
            sender=job.task,
            job_id=job.id,
            reason=ending.error,
            error=ending.exception,
            secrets=ending.secrets,
        )
    return ended


def cancel(ids: Sequence[UUID], reason: str) -> list[UUID]:
    """Cancel those of the jobs that have not ended; return their ids."""
    return _changed("job.cancelled", rows(sql.CANCEL, {"ids": list(ids), "reason": reason}), reason)


def retry(ids: Sequence[UUID]) -> list[UUID]:
    """Let failed, cancelled and expired jobs wait again with all their attempts."""
    return _changed("job.retried", rows(sql.RETRY, {"ids": list(ids)}))


def discard(ids: Sequence[UUID], reason: str) -> list[UUID]:
    """Take failed jobs out of the dead letters: they end as cancelled."""
    return _changed(
        "job.discarded", rows(sql.DISCARD, {"ids": list(ids), "reason": reason}), reason
    )


def expire(session: Session, limit: int) -> list[UUID]:
    """End waiting jobs that need not start any more."""
    return _changed("job.expired", session.rows(sql.EXPIRE, {"limit": limit}))


def _changed(event: str, changed: Sequence[tuple[Any, ...]], reason: str = "") -> list[UUID]:
    for job_id, task, queue, headers, *_ in changed:
        more = {"reason": reason} if reason else {}
        logger.info(event, job_id=str(job_id), task=task, queue=queue, **_request(headers), **more)
    return [row[0] for row in changed]


def _enqueue_on_failed(job: Ended) -> None:
    from reliable.jobs.durable import registry

    task = registry.get(job.task)
    if task is not None and task.on_failed is not None:
        task.on_failed.delay(str(job.id))


def _log(job: Ended, ending: Ending) -> None:
    fields = {
        "job_id": str(job.id),
        "task": job.task,
        "queue": job.queue,
        "outcome": str(ending.outcome),
        "attempts": f"{job.attempt}/{job.max_attempts}",
        **_request(job.headers),
    }
    if ending.error:
        fields["reason"] = ending.error
    if job.state == State.FAILED:
        logger.error("job.failed", **fields)
    elif job.state == State.CANCELLED:
        logger.info("job.discarded", **fields)
    elif ending.outcome in {Outcome.SNOOZED, Outcome.SHUT_DOWN}:
        logger.info("job.waits_again", **fields, seconds=round(max(0.0, job.delay), 1))
    else:
        logger.warning("job.waits_again", **fields, seconds=round(max(0.0, job.delay), 1))


def _request(headers: str) -> dict[str, str]:
    request_id = json.loads(headers).get("request_id")
    return {"request_id": request_id} if request_id else {}


def end_sessions(claims: Sequence[Claim]) -> None:
    """End what the claims' bodies left running in the database, but for this session."""
    parameters = {
        "ids": [claim.id for claim in claims],
        "claim_nos": [claim.claim_no for claim in claims],
    }
    with suppress(DatabaseError):  # then they cannot be given back either
        reconnecting(lambda: rows(sql.END_SESSIONS, parameters))
