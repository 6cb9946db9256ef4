"""A job as a TaskResult of Django's task API, and what travels with the job for that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS

from reliable.jobs.models import Attempt, Job
from reliable.jobs.states import Outcome, State
from reliable.jobs.taskapi import Task, TaskError, TaskResult, TaskResultStatus

# In the job's headers.
_KEY = "django"

_STATUSES = {
    State.HELD: TaskResultStatus.READY,
    State.WAITING: TaskResultStatus.READY,
    State.RUNNING: TaskResultStatus.RUNNING,
    State.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    State.FAILED: TaskResultStatus.FAILED,
    State.CANCELLED: TaskResultStatus.FAILED,
    State.EXPIRED: TaskResultStatus.FAILED,
}

# What stands for an end that no exception in the body has caused.
_EXCEPTIONS = {
    Outcome.TIMED_OUT: "billiard.exceptions.TimeLimitExceeded",
    Outcome.CHILD_LOST: "billiard.exceptions.WorkerLostError",
    Outcome.WORKER_LOST: "billiard.exceptions.WorkerLostError",
}
_OTHERWISE = "reliable.jobs.handle.JobFailed"

# The line below the frames of a traceback: `module.Error: text`; a built-in one without a module.
_RAISED = re.compile(r"^(?!Traceback )([^\W\d][\w.]*)(?::|$)", re.MULTILINE)


def headers(result: TaskResult[..., Any]) -> dict[str, Any]:
    """What `of` needs to know beside the row: also what a row keeps only roughly."""
    task = result.task
    kept: dict[str, Any] = {
        "backend": result.backend,
        "enqueued_at": result.enqueued_at and result.enqueued_at.isoformat(),
    }
    if task.priority:
        kept["priority"] = task.priority
    if task.run_after is not None:
        kept["run_after"] = task.run_after.isoformat()
    return {_KEY: kept}


def backend_of(headers: dict[str, Any]) -> str | None:
    """The alias of the backend that has enqueued a job; None if it was none."""
    alias = headers.get(_KEY, {}).get("backend")
    return None if alias is None else str(alias)


def find(job_id: UUID) -> Job | None:
    # Not where a router sends reads: a replica may be behind.
    return Job.objects.using(DEFAULT_DB_ALIAS).filter(pk=job_id).first()


def as_enqueued(task: Task[..., Any], queue: str, headers: dict[str, Any]) -> Task[..., Any]:
    """The task as `using()` had it for this job."""
    kept = headers[_KEY]
    run_after = kept.get("run_after")
    return replace(
        task,
        backend=kept["backend"],
        queue_name=queue,
        priority=kept.get("priority", 0),
        run_after=run_after and datetime.fromisoformat(run_after),
    )


def of(job: Job, task: Task[..., Any]) -> TaskResult[..., Any]:
    attempts = [
        attempt
        for attempt in job.attempts.using(DEFAULT_DB_ALIAS).order_by("id")
        if attempt.outcome != Outcome.MISFIT  # the body has not begun
    ]
    begun = [attempt.started_at for attempt in attempts if attempt.started_at]
    result: TaskResult[..., Any] = TaskResult(
        task=task,
        id=str(job.id),
        status=_STATUSES[State(job.state)],
        enqueued_at=datetime.fromisoformat(job.headers[_KEY]["enqueued_at"]),
        started_at=begun[0] if begun else job.started_at,
        finished_at=job.finished_at,
        last_attempted_at=job.started_at,
        args=job.args,
        kwargs=job.kwargs,
        backend=job.headers[_KEY]["backend"],
        errors=list(_errors(job, attempts)),
        worker_ids=list(_workers(job, attempts)),
    )
    object.__setattr__(result, "_return_value", job.result)
    return result


def _errors(job: Job, attempts: list[Attempt]) -> Iterator[TaskError]:
    for attempt in attempts:
        if attempt.outcome in {Outcome.SHUT_DOWN, Outcome.SNOOZED}:
            continue
        path = _raised(attempt.traceback) or _EXCEPTIONS.get(Outcome(attempt.outcome), _OTHERWISE)
        text = f"{attempt.traceback or attempt.error}\n"
        yield TaskError(exception_class_path=path, traceback=text)
    if job.state in {State.CANCELLED, State.EXPIRED}:
        text = f"{job.state}: {job.error}\n" if job.error else f"{job.state}\n"
        yield TaskError(exception_class_path=_OTHERWISE, traceback=text)


def _raised(text: str) -> str | None:
    """The path of the exception that a traceback tells of."""
    last = text[text.rfind("\nTraceback (most recent call last):") + 1 :]
    found = _RAISED.search(last)
    if found is None:
        return None
    return found[1] if "." in found[1] else f"builtins.{found[1]}"


def _workers(job: Job, attempts: list[Attempt]) -> Iterator[str]:
    """One for each attempt. Who succeeded is not kept, but which release it was of."""
    for attempt in attempts:
        yield str(attempt.worker)
    if job.state == State.RUNNING:
        yield str(job.worker)
    elif job.state == State.SUCCEEDED:
        yield f"release {job.release_ran or 'unknown'}"
