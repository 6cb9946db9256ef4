"""A task that moves between `@shared_task` and `@durable_task` while calls of it are on their way.

Both kinds keep their name, so each call finds whoever has that name now:

- A plain message whose task is durable here: a door of that name takes it into the table, as the
  job that it is, however often the broker delivers it.
- A row whose task is plain here: the runner runs that task as the body of the job.

So an old and a new release may call and run the task side by side, and a rollback is one more move.
"""

import inspect
import time
from functools import cache, wraps
from hashlib import blake2b
from typing import Any
from uuid import UUID

import structlog
from celery import current_app, signals
from celery.app.trace import task_has_custom
from celery.backends.base import DisabledBackend
from celery.exceptions import Reject, SoftTimeLimitExceeded
from django.db import DataError, Error

from reliable.jobs import enqueue, ids
from reliable.jobs.arguments import json_text
from reliable.jobs.context import current_job
from reliable.jobs.durable import DurableTask, registry
from reliable.jobs.handle import JobHandle

logger = structlog.stdlib.get_logger("reliable.jobs")

# On a message that only waits for the end of its job: which one.
_HEADER = "reliable_job"

# Seconds that a message waits for a database that is away, before it goes back to its list.
_PAUSE = 1.0
# Seconds between two looks for the end of a job that something waits for: doubled each time.
_LONGEST_PAUSE = 64


def connect() -> None:
    """Let each worker take plain messages of durable tasks."""
    signals.worker_init.connect(_begin, dispatch_uid="reliable.jobs.moving")


def of_plain(name: str) -> DurableTask[..., Any] | None:
    """The plain Celery task of that name, to be run as a job; None if there is none."""
    task = current_app.tasks.get(name)
    if task is None or name.startswith("celery.") or hasattr(task, "runs_jobs"):
        return None
    return _as_body(task)


@cache
def _as_body(task: Any) -> DurableTask[..., Any]:
    """At least once, as a plain task is. An exception, `retry()` among them, costs an attempt of
    the job, since the row is what comes back.
    """
    call = task if task_has_custom(task, "__call__") else task.run

    @wraps(task.run)
    def body(*args: Any, **kwargs: Any) -> Any:
        run = current_job()
        task.push_request(
            id=str(run.id),
            args=args,
            kwargs=kwargs,
            retries=run.attempt - 1,
            # `retry()` sends no message, and raises what the runner understands.
            called_directly=True,
        )
        try:
            result = call(*args, **kwargs)
        finally:
            task.pop_request()
        try:
            json_text(result)
        except ValueError:  # which nobody asks of a plain task
            return None
        return result

    # When it was durable, some may have been secret; a plain task cannot say which.
    names = frozenset(inspect.signature(body).parameters)
    return DurableTask(body, task.name, atomic=False, secret=names)


def open_doors(app: Any) -> None:
    """Take messages of each durable task whose name no plain task has."""
    for task in registry.values():
        if task.name not in app.tasks:
            door(app, task)


def _begin(sender: Any, **_: Any) -> None:
    open_doors(sender.app)


def door(app: Any, task: DurableTask[..., Any]) -> Any:
    """Register the Celery task that takes plain messages of a durable task.

    What Celery lets follow a message (the rest of a chain, callbacks, a chord, somebody who reads
    the result) follows the end of the job.
    """

    def take(self: Any, *args: Any, **kwargs: Any) -> Any:
        handle = _taken(task, self.request, args, kwargs)
        return _end(self, handle) if _awaited(self) else None

    return app.task(
        take,
        name=task.name,
        bind=True,
        queue=task.queue,
        max_retries=None,
        # The message goes when the row is there. If the process dies before, the message comes
        # back; it cannot kill again and again, since the body does not run here.
        acks_late=True,
        reject_on_worker_lost=True,
        is_door=True,
    )


def job_id(message: Any) -> UUID:
    """The id of a message's job: the same at each delivery, and of no other message.

    Not of the task's id alone, which callers may choose, and use again for the next call. kombu
    gives each message a tag, which Redis keeps when it delivers it again. The message does not say
    when it was sent, so that its job stands before all that have a time in their id.
    """
    tag = (message.properties or {}).get("delivery_tag", "")
    digest = blake2b(f"{message.id} {tag}".encode(), digest_size=10).digest()
    return ids.versioned(int.from_bytes(digest, "big"), 8)


def _taken(task: DurableTask[..., Any], request: Any, args: Any, kwargs: Any) -> JobHandle:
    if known := getattr(request, _HEADER, None):
        return JobHandle(UUID(known))
    call = enqueue.Call(task, args, kwargs, id=job_id(request))
    try:
        handle = enqueue.enqueue(call)
    except DataError:
        raise
    except (Error, SoftTimeLimitExceeded) as error:
        logger.warning("job.message_waits", task=task.name, error=str(error).strip())
        time.sleep(_PAUSE)
        raise Reject(error, requeue=True) from error
    logger.info("job.taken_over", task=task.name, job_id=str(handle.id))
    return handle


def _awaited(door: Any) -> bool:
    request = door.request
    is_kept = not request.ignore_result and not isinstance(door.backend, DisabledBackend)
    follows = request.callbacks or request.errbacks or request.chain or request.chord
    return bool(follows or is_kept)


def _end(door: Any, handle: JobHandle) -> Any:
    """The job's result, or the exception that says how it ended; before that, look again later."""
    try:
        return handle.wait(0)
    except TimeoutError:
        pause = min(_LONGEST_PAUSE, 2 ** min(door.request.retries, 10))
    headers = {**(door.request.headers or {}), _HEADER: str(handle.id)}
    try:
        raise door.retry(countdown=pause, headers=headers)
    except Reject as reject:
        # The broker did not take the message for later: this one stays.
        raise Reject(reject.args[0], requeue=True) from reject
