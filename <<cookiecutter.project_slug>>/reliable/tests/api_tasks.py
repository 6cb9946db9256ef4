"""Tasks of Django's task API and its settings, for the tests of its backend."""

import os
from datetime import timedelta
from typing import Any

from django.utils import timezone

from reliable.jobs import current_job
from reliable.jobs.taskapi import TaskResult, task
from reliable.testing import effects
from reliable.testing.run_jobs import run_jobs

DURABLE = {"BACKEND": "reliable.jobs.backend.DurableBackend"}
TASKS = {
    "default": DURABLE,
    "once": {**DURABLE, "OPTIONS": {"max_attempts": 1, "backoff": 0, "atomic": False}},
    "mail": {**DURABLE, "QUEUES": ["mail"]},
}

calls: list[str] = []


def later() -> int:
    """Run what is due by tomorrow, retries among it."""
    return run_jobs(at=timezone.now() + timedelta(days=1), raise_errors=False)


def ended(result: "TaskResult[Any, Any]") -> "TaskResult[Any, Any]":
    later()
    result.refresh()
    return result


@task
def add(first: int, second: int = 0) -> int:
    return first + second


@task
async def add_async(first: int, second: int = 0) -> int:
    return first + second


@task
def effect(name: str) -> None:
    effects.add(name)


@task
def fail(word: str) -> None:
    raise LookupError(word)


@task
def fail_with_a_cause() -> None:
    try:
        os.environ["THE_FIRST"]
    except KeyError as error:
        raise Strange("one\nValueError: two") from error


class Strange(Exception):  # noqa: N818
    pass


@task
def leave() -> None:
    raise SystemExit("out")


@task
def return_an_object() -> object:
    return object()


@task(takes_context=True)
def fail_once(context: Any, word: str) -> list[Any]:
    if context.attempt == 1:
        raise ValueError(word)
    return [word, context.attempt, context.task_result.id, str(current_job().id)]


def no_task() -> None:
    calls.append("no_task")
