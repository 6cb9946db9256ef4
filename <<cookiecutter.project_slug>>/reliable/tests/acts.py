"""A task whose body does what the test says, and one attempt at it in this process."""

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import Group
from django.db import connection

from reliable.jobs import current_job, durable_task, runner
from reliable.jobs.models import Job

WORKER = uuid.uuid4()

# What the body of the next `act` does.
next_act: list[Callable[[], Any]] = []


@durable_task(queue="default", max_attempts=2, backoff=0)
def act() -> Any:
    """Leave an effect, and then do what the test says."""
    Group.objects.create(name=f"effect {current_job().attempt}")
    return next_act[-1]()


@durable_task(queue="default", max_attempts=2, backoff=0, atomic=False)
def act_outside() -> Any:
    return next_act[-1]()


def run_once(does: Callable[[], Any], task: Any = act) -> Job:
    """Run one attempt as a worker does, and return the row."""
    next_act.append(does)
    handle = task.delay()
    assert runner.run(handle.id, WORKER)
    return Job.objects.get(pk=handle.id)


def raises(error: BaseException) -> Callable[[], Any]:
    def body() -> None:
        raise error

    return body


def effects() -> int:
    return Group.objects.count()


def elsewhere(statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """What a statement returns in another session, as of another process."""
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
    finally:
        other.close()
