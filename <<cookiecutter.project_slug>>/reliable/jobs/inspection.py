"""What people ask about jobs: a list, one of them in full, how many there are of which kind."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from reliable.jobs import operations, times
from reliable.jobs.arguments import BadArgument, bind
from reliable.jobs.lookup import durable
from reliable.jobs.models import Attempt, Job, Worker
from reliable.jobs.selection import jobs
from reliable.jobs.states import State
from reliable.jobs.times import Refused
from reliable.redaction import without_secrets

SECRET = "[secret]"  # noqa: S105
# Of a task that this release does not know: nobody can say which of them are secret.
NOT_SHOWN = "[not shown]"

_LISTED = (
    "id",
    "state",
    "task",
    "queue",
    "attempt",
    "max_attempts",
    "created_at",
    "run_at",
    "started_at",
    "finished_at",
    "tags",
    "error",
)
# In the order in which they are shown. The key of a `unique` call says nothing.
_SHOWN = (
    *(
        "id",
        "task",
        "queue",
        "state",
        "error",
        "exception",
        "place",
        "attempt",
        "max_attempts",
        "backoff",
        "priority",
    ),
    *("created_at", "run_at", "expires_at", "started_at", "deadline_at", "finished_at"),
    *("time_limit", "atomic", "result", "progress", "checkpoint", "headers", "tags"),
    *("release_enqueued", "release_ran", "worker", "backend", "claim_no", "published_at", "offers"),
    *("suspect", "batched", "solo", "misfits", "misfit_since", "parent_id", "workflow_id"),
    "concurrency_key",
    "unique_running",
)
_FREE = ("error", "result", "progress", "checkpoint")
_CHILDREN = 20
#: Children that are counted; `children_in_all` is one more if there are more.
MOST_CHILDREN = 10_000


def listed(selected: QuerySet[Job], limit: int, before: UUID | None = None) -> list[dict[str, Any]]:
    """The newest of the jobs; `before`: the id that the page before ended with."""
    if before is not None:
        selected = selected.filter(id__lt=before)
    # Ids begin with the time they were made at; a child's with its parent's.
    return list(selected.order_by("-id").values(*_LISTED)[:limit])


@dataclass
class Details:
    """A job as it can be shown to people."""

    job: dict[str, Any]
    situation: str
    arguments: dict[str, Any]
    attempts: list[dict[str, Any]]
    parent: dict[str, Any] | None
    children: list[dict[str, Any]]
    children_in_all: int


def details(job_id: UUID) -> Details:
    """All that helps people, without what its task calls secret. Raises Refused."""
    job = jobs().filter(id=job_id).first()
    if job is None:
        raise Refused(f"There is no job {job_id}: its transaction rolled back, or it was purged.")
    arguments, secrets = _arguments(job)
    columns = {name: getattr(job, name) for name in _SHOWN}
    columns.update({name: _without(columns[name], secrets) for name in _FREE})
    columns["is_unique"] = job.unique_key is not None
    attempts = Attempt.objects.using(jobs().db).filter(job=job).order_by("id")
    children = jobs().filter(parent_id=job.id)
    brief = ("id", "task", "state")
    return Details(
        job=columns,
        situation=_situation(job),
        arguments=arguments,
        attempts=[
            {name: _without(value, secrets) for name, value in each.items()}
            for each in attempts.values(
                *("claim_no", "outcome", "counted", "started_at", "ended_at", "worker", "release"),
                *("error", "traceback"),
            )
        ],
        parent=jobs().filter(id=job.parent_id).values(*brief).first() if job.parent_id else None,
        children=list(children.order_by("id").values(*brief)[:_CHILDREN]),
        children_in_all=children[: MOST_CHILDREN + 1].count(),
    )


def shown(job: Job) -> tuple[dict[str, Any], str]:
    """A job's arguments by name and its error, without what is secret of them: for lists."""
    arguments, secrets = _arguments(job)
    return arguments, without_secrets(job.error, secrets)


def _arguments(job: Job) -> tuple[dict[str, Any], list[Any]]:
    """The arguments by name with what may be shown of them; and the values that may not be."""
    task = durable(job.task, job.queue, job.headers)
    if task is not None:
        try:
            named = bind(job.task, task.signature, job.args, job.kwargs)
        except BadArgument:
            pass
        else:
            secrets = [value for name, value in named.items() if name in task.secret]
            return {
                name: SECRET if name in task.secret else _without(value, secrets)
                for name, value in named.items()
            }, secrets
    names = [*(f"#{number}" for number in range(1, len(job.args) + 1)), *job.kwargs]
    return dict.fromkeys(names, NOT_SHOWN), [*job.args, *job.kwargs.values()]


def _without(value: Any, secrets: list[Any]) -> Any:
    """Any JSON without the secrets that a body may have copied into it."""
    if isinstance(value, dict):
        return {_without(key, secrets): _without(each, secrets) for key, each in value.items()}
    if isinstance(value, list):
        return [_without(each, secrets) for each in value]
    if isinstance(value, str):
        return without_secrets(value, secrets)
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = json.dumps(value)
        return value if without_secrets(text, secrets) == text else SECRET
    return value


def _situation(job: Job) -> str:
    """What it waits for, in a sentence; empty if its state says it."""
    if job.state == State.HELD:
        return "It is held until its predecessors have succeeded."
    if job.state == State.WAITING:
        return _why_waiting(job)
    if job.worker and job.started_at:
        worker = Worker.objects.using(jobs().db).filter(id=job.worker).first()
        lasts = times.lasting((timezone.now() - job.started_at).total_seconds())
        name = worker.name if worker else "a worker that has left"
        return f"It runs in {name} for {lasts} of its {job.time_limit} s."
    return ""


def _why_waiting(job: Job) -> str:
    for queue in operations.paused():
        if queue.name == job.queue:
            return f"The queue {job.queue} is paused {operations.why_paused(queue)}."
    misfit = (
        f" Given back by releases that cannot run it: {job.misfits} times." if job.misfits else ""
    )
    if (wait := (job.run_at - timezone.now()).total_seconds()) > 0:
        return f"It is due at {times.local(job.run_at)}, in {times.lasting(wait)}.{misfit}"
    if not Worker.objects.using(jobs().db).filter(queues__contains=[job.queue]).exists():
        return f"No worker reads the queue {job.queue}: start one."
    return f"It is due since {times.local(job.run_at)}, and no worker was free for it.{misfit}"
