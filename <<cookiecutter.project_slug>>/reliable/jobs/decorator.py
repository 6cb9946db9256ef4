"""The decorator `@durable_task`, and what it refuses."""

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Concatenate, Literal, ParamSpec, TypedDict, TypeVar, Unpack, overload

from django.core.exceptions import ImproperlyConfigured

from reliable.jobs.durable import LARGEST_BATCH, DurableTask, Unique, registry

P = ParamSpec("P")
R = TypeVar("R")


class Options(TypedDict, total=False):
    """What `@durable_task` takes; its docstring says what for."""

    name: str
    queue: str
    max_attempts: int
    backoff: float
    retry_for: tuple[type[BaseException], ...]
    give_up_on: tuple[type[BaseException], ...]
    time_limit: int
    atomic: bool
    batch: int
    unique: Unique
    debounce: float
    expires: float
    priority: int
    secret: Iterable[str]
    tags: Iterable[str]
    on_failed: DurableTask[..., Any]


@overload
def durable_task(function: Callable[P, R], /) -> DurableTask[P, R]: ...
@overload
def durable_task(
    *, bind: Literal[True], **options: Unpack[Options]
) -> Callable[[Callable[Concatenate[Any, P], R]], DurableTask[P, R]]: ...
@overload
def durable_task(
    *, bind: Literal[False] = False, **options: Unpack[Options]
) -> Callable[[Callable[P, R]], DurableTask[P, R]]: ...
def durable_task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a durable task of a function.

    name: how rows and messages call it; by default module and function.
    queue: by default the one that the routes choose by its name.
    max_attempts: how often it may fail, crash or exceed its limit before it ends as `failed`.
    backoff: seconds before the second attempt, doubled with each, an hour at most; drawn from zero
        to that, so that a service which comes back does not meet everybody at once.
    retry_for, give_up_on: the exceptions after which it is tried again, and those that end it. A
        database that went away is always of the first kind, unless the second names it.
    time_limit: seconds; by default its queue's soft limit.
    atomic: body and completion are one transaction: its effects in this database are there exactly
        once. False is for what takes long or speaks to others: at least once, with
        `current_job().idempotency_key`, and `current_job().step()` for exactly once per step.
    batch: up to so many jobs, 50 at most, share one transaction if many of this task are due, each
        in a savepoint of its own. For short bodies: what costs most, the commit, is then shared.
    unique: True: a call with the same arguments as a job that has not started is that job.
        "until_finished": or as one that runs.
    debounce: seconds: `unique`, and each call puts the run off until so long after it, but never
        longer than ten times that after the first.
    expires: seconds after which it need not start any more.
    priority: 0 to 9, and 9 is first.
    bind: pass this task as the first argument.
    secret: names of arguments whose values appear nowhere but in the row.
    tags: for people to find it by.
    on_failed: a durable task that is enqueued with the job's id when the job ends as `failed`, in
        the same transaction.
    """
    if function is not None:
        return _register(function)
    return partial(_register, **options)


def _register(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    queue: str | None = None,
    time_limit: int | None = None,
    secret: Iterable[str] = (),
    tags: Iterable[str] = (),
    **options: Any,
) -> DurableTask[..., Any]:
    task: DurableTask[..., Any] = DurableTask(
        function,
        name or f"{function.__module__}.{function.__qualname__}",
        queue_name=queue,
        limit=time_limit,
        secret=frozenset(secret),
        tags=tuple(tags),
        **options,
    )
    check_options(task)
    other = registry.get(task.name)
    if other is not None and inspect.getsourcefile(other.function) != inspect.getsourcefile(
        function
    ):
        raise ImproperlyConfigured(
            f"Two durable tasks are called {task.name}; give one another name=."
        )
    registry[task.name] = task
    return task


def check_options(task: DurableTask[..., Any]) -> None:
    """Raises ImproperlyConfigured that names the option at fault."""
    wrong = {
        "max_attempts": task.max_attempts < 1,
        "backoff": task.backoff < 0,
        "time_limit": task.limit is not None and task.limit < 1,
        "priority": not 0 <= task.priority <= 9,  # noqa: PLR2004 - the range of a message's
        "expires": task.expires is not None and task.expires <= 0,
        "debounce": task.debounce is not None and task.debounce <= 0,
        "batch": isinstance(task.batch, bool) or not 1 <= task.batch <= LARGEST_BATCH,
        "unique": task.unique not in {True, False, "until_finished"},
    }
    for option, is_wrong in wrong.items():
        if is_wrong:
            value = task.limit if option == "time_limit" else getattr(task, option)
            raise ImproperlyConfigured(f"{task.name}: {option} cannot be {value!r}.")
    if task.batch > 1 and not task.atomic:
        raise ImproperlyConfigured(
            f"{task.name}: batch={task.batch} needs atomic=True, since the jobs of a batch are one"
            " transaction. Leave one of the two out."
        )
    for name in task.secret - set(task.signature.parameters):
        raise ImproperlyConfigured(f"{task.name}: secret= names no argument {name!r}.")
