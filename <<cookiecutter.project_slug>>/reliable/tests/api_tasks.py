"""Tasks of Django's task API, for the tests of its backend."""

import os
from typing import Any

from reliable.jobs import current_job
from reliable.jobs.taskapi import task
from reliable.testing import effects

calls: list[str] = []


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
