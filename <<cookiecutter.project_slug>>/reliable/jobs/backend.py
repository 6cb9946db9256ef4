"""A backend of Django's task API whose tasks are durable: `enqueue()` is a row of the transaction.

    TASKS = {"default": {"BACKEND": "reliable.jobs.backend.DurableBackend"}}

    @task(queue_name="mail")
    def email_receipt(order_id: int) -> None: ...

    email_receipt.enqueue(order.pk)

https://docs.djangoproject.com/en/6.0/topics/tasks/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, wraps
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from django.utils.module_loading import import_string

from reliable import queues
from reliable.jobs import enqueue, results
from reliable.jobs.context import current_job
from reliable.jobs.decorator import check_options
from reliable.jobs.durable import DurableTask, registry
from reliable.jobs.taskapi import (
    BaseTaskBackend,
    InvalidTask,
    InvalidTaskBackend,
    Task,
    TaskContext,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from reliable.jobs.transitions import job_failed, job_succeeded

P = ParamSpec("P")
R = TypeVar("R")

#: What OPTIONS may say, as `durable_task` describes it, for all tasks of the backend; defaults are
#: the same.
OPTIONS = ("atomic", "backoff", "expires", "max_attempts", "tags", "time_limit")

# Of 201 priorities to the 10 of a job: 20 to a level, so that 0, the default, is 5, the default.
_A_LEVEL = 20


class DurableBackend(BaseTaskBackend):
    """Jobs of `@task` functions. All that is promised of durable tasks is promised of them.

    QUEUES: the declared queues that its tasks may name; by default all of them. OPTIONS: see
    `OPTIONS`. Tasks that need others name a second backend of this class.

    priority: -100 to 100, 20 to each of a job's ten levels. run_after: the job's `run_at`.
    Cancelled and expired jobs have the status FAILED, as there is no other for an end.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.queues = set(params.get("QUEUES") or queues.declared())
        self._durable: dict[tuple[Any, str], DurableTask[..., Any]] = {}

    def validate_task(self, task: Task[..., Any]) -> None:
        """Raises InvalidTask, or InvalidTaskBackend if the settings are wrong."""
        for problem in self.problems:
            raise InvalidTaskBackend(problem)
        super().validate_task(task)
        if unsound := self.durable(task).problem():
            raise InvalidTask(unsound)

    def enqueue(
        self, task: Task[P, R], args: list[Any], kwargs: dict[str, Any]
    ) -> TaskResult[P, R]:
        """Insert a job in the caller's transaction.

        Raises BadArgument (a TypeError) that names the argument at fault.
        """
        self.validate_task(task)
        result = TaskResult(
            task=task,
            id="",
            status=TaskResultStatus.READY,
            enqueued_at=timezone.now(),
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=list(args),
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        run_after = task.run_after
        if run_after is not None and timezone.is_naive(run_after):
            run_after = timezone.make_aware(run_after)
        call = enqueue.Call(
            self.durable(task),
            tuple(result.args),
            result.kwargs,
            eta=run_after,
            priority=min((task.priority + 100) // _A_LEVEL, 9),
            headers=results.headers(result),
        )
        result = replace(result, id=str(enqueue.enqueue(call).id))
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult[..., Any]:
        """Raises TaskResultDoesNotExist: not of this backend, rolled back, or purged."""
        try:
            job = results.find(UUID(result_id))
        except ValueError:
            job = None
        if job is None or (task := self.task(job.task, job.queue, job.headers)) is None:
            raise TaskResultDoesNotExist(f"The backend {self.alias!r} has no result {result_id}.")
        return results.of(job, task)

    def check(self, **_: Any) -> list[Any]:
        return [checks.Error(problem, id="reliable.E001") for problem in self.problems]

    def task(self, name: str, queue: str, headers: dict[str, Any]) -> Task[..., Any] | None:
        """The task of a job that this backend has enqueued; None if it is none, or not here."""
        if results.backend_of(headers) != self.alias:
            return None
        try:
            found = import_string(name)
        except ImportError:
            return None
        # A name in a row runs what was declared as a task, and nothing else.
        return results.as_enqueued(found, queue, headers) if isinstance(found, Task) else None

    def durable(self, task: Task[..., Any]) -> DurableTask[..., Any]:
        """The durable task that a `@task` is, with the options of this backend."""
        key = task.func, task.queue_name
        if key not in self._durable:
            self._durable[key] = self._made(
                self._body(task),
                task.module_path,
                queue_name=task.queue_name,
                bind=task.takes_context,
            )
        return self._durable[key]

    def _made(self, function: Any, name: str, **fixed: Any) -> DurableTask[..., Any]:
        options = dict(self.options)
        limit, tags = options.pop("time_limit", None), tuple(options.pop("tags", ()))
        return DurableTask(function, name, limit=limit, tags=tags, **options, **fixed)

    def _body(self, task: Task[..., Any]) -> Any:
        @wraps(task.func)
        def body(*args: Any, **kwargs: Any) -> Any:
            result = self.get_result(str(current_job().id))
            task_started.send(type(self), task_result=result)
            if task.takes_context:
                args = (TaskContext(task_result=result), *args[1:])
            return task.call(*args, **kwargs)

        return body

    @cached_property
    def problems(self) -> list[str]:
        """What is wrong with the settings, in sentences."""
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        where = f"TASKS[{self.alias!r}]"
        if unknown := sorted(set(self.options) - set(OPTIONS)):
            known = ", ".join(OPTIONS)
            yield f"{where}: OPTIONS has no {unknown[0]!r}; there are {known}."
            return
        known_queues = queues.declared()
        for name in sorted(self.queues - set(known_queues)) if known_queues else ():
            declared = ", ".join(known_queues)
            yield f"{where}: the queue {name!r} is not declared (declared: {declared})."
        try:
            check_options(self._made(_nothing, where))
        except (ImproperlyConfigured, TypeError) as error:
            yield f"{where}: OPTIONS: {error}"


def of_job(name: str, queue: str, headers: dict[str, Any]) -> DurableTask[..., Any] | None:
    """The durable task that a job's `@task` is; None if no backend of these settings enqueued it,
    or this release has no such task.
    """
    backend = _backend(headers)
    if backend is None:
        return None
    task = backend.task(name, queue, headers)
    return None if task is None else backend.durable(task)


def connect() -> None:
    """Send `task_finished` from whichever process ends a job."""
    for signal in (job_succeeded, job_failed):
        signal.connect(_finished, dispatch_uid="reliable.jobs.backend")


def _finished(sender: str, job_id: UUID, **_: Any) -> None:
    job = None if sender in registry else results.find(job_id)
    backend = job and _backend(job.headers)
    if backend:
        task_finished.send(type(backend), task_result=backend.get_result(str(job_id)))


def _backend(headers: dict[str, Any]) -> DurableBackend | None:
    alias = results.backend_of(headers)
    try:
        backend = None if alias is None else task_backends[alias]
    except InvalidTaskBackend:
        return None
    return backend if isinstance(backend, DurableBackend) else None


def _nothing() -> None:
    """A function whose options can be looked at."""
