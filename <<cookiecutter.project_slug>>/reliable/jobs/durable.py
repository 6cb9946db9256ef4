"""`@durable_task`: a call is a row in the caller's transaction, and what is committed runs.

    @durable_task(queue="mail", max_attempts=8)
    def email_receipt(order_id: int) -> None: ...

    email_receipt.delay(order.pk)

The README beside this file says what is promised and what is not.
"""

import inspect
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    NoReturn,
    ParamSpec,
    TypeVar,
)

from celery import current_app
from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, router

from reliable import queues
from reliable.jobs import enqueue
from reliable.jobs.arguments import positional

if TYPE_CHECKING:
    from reliable.jobs.handle import JobHandle

P = ParamSpec("P")
R = TypeVar("R")

#: Seconds. A transaction that is open for longer keeps PostgreSQL from cleaning up behind it.
LONGEST_ATOMIC = 300

#: Jobs of one message and one transaction. More add little, and lose more when one is to blame.
LARGEST_BATCH = 50

_WITHOUT_DECLARATION = 60

#: Calls that never pause put a debounced run off by so many times its `debounce`, and no longer.
DEBOUNCED_AT_MOST = 10

#: Every durable task of this release by its name.
registry: dict[str, "DurableTask[..., Any]"] = {}

Unique = bool | Literal["until_finished"]

_NEXT = "Enqueue what follows in the task's body: it is committed with the task's own effects"
# What Celery's tasks have and this cannot honour, and what to do instead.
_REFUSED = {
    "link": _NEXT,
    "link_error": "Use on_failed=",
    "chord": _NEXT,
    "group": "Use enqueue_many(): one statement for all",
    "group_id": "Use enqueue_many(): one statement for all",
    "chain": _NEXT,
    "producer": "A relay publishes",
    "serializer": "Arguments are JSON",
    "routing_key": "Use queue=",
    "exchange": "Use queue=",
    "task_id": "Its id is made when it is enqueued",
    "retry": "Raise an exception, or Snooze(seconds)",
    "replace": _NEXT,
    "s": _NEXT,
    "si": _NEXT,
    "signature": _NEXT,
    "subtask": _NEXT,
    "map": "Use enqueue_many()",
    "starmap": "Use enqueue_many()",
    "chunks": "Use enqueue_many()",
    "apply": "Call it as a function, or use run_jobs()",
    "request": "Use current_job()",
}


class NotHonoured(TypeError):  # noqa: N818 - what it says
    """An option or a method of Celery's tasks that a durable task does not have."""


@dataclass(eq=False, repr=False)
class DurableTask(Generic[P, R]):
    """A task whose calls are rows. Made by `@durable_task`, which describes the options."""

    function: Callable[P, R]
    name: str
    queue_name: str | None = None
    max_attempts: int = 5
    backoff: float = 5
    retry_for: tuple[type[BaseException], ...] = (Exception,)
    give_up_on: tuple[type[BaseException], ...] = ()
    limit: int | None = None
    atomic: bool = True
    batch: int = 1
    unique: Unique = False
    debounce: float | None = None
    expires: float | None = None
    priority: int = 5
    bind: bool = False
    secret: frozenset[str] = frozenset()
    tags: tuple[str, ...] = ()
    on_failed: "DurableTask[..., Any] | None" = None
    signature: inspect.Signature = field(init=False)
    positional: range = field(init=False)

    def __post_init__(self) -> None:
        signature = inspect.signature(self.function)
        if self.bind:
            parameters = list(signature.parameters.values())
            signature = signature.replace(parameters=parameters[1:])
        self.signature = signature
        self.positional = positional(signature)
        self.unique = self.unique or self.debounce is not None
        self.__doc__ = self.function.__doc__
        self.__name__ = self.function.__name__
        self.__module__ = self.function.__module__
        self.__wrapped__ = self.function

    def __repr__(self) -> str:
        return f"<durable task {self.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the body here and now, as a test or another function may."""
        if self.bind:
            return self.function(self, *args, **kwargs)  # type: ignore[arg-type]
        return self.function(*args, **kwargs)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> "JobHandle":
        """Insert a job in the caller's transaction; it runs once that is committed.

        Needs no broker. Raises BadArgument (a TypeError) that names the argument at fault.
        """
        return enqueue.enqueue(enqueue.Call(self, args, kwargs))

    # The row is part of the transaction: it need not wait for the commit.
    delay_on_commit = delay

    def apply_async(
        self,
        args: Iterable[Any] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
        queue: str | None = None,
        expires: float | timedelta | datetime | None = None,
        priority: int | None = None,
        **options: Any,
    ) -> "JobHandle":
        """As `delay`, with options: `countdown` and `expires` are seconds from now, or moments with
        a time zone; `priority` is 0 to 9, and 9 is first.

        Raises NotHonoured for options of Celery's that a row cannot keep, with what to do instead.
        """
        for option in options:
            self.refuse(option)
        call = enqueue.Call(
            self,
            tuple(args),
            dict(kwargs or {}),
            countdown=countdown,
            eta=eta,
            queue=queue,
            expires=expires,
            priority=priority,
        )
        return enqueue.enqueue(call)

    apply_async_on_commit = apply_async

    def __getattr__(self, name: str) -> NoReturn:
        if name in _REFUSED:
            self.refuse(name)
        raise AttributeError(f"{self!r} has no attribute {name!r}")

    def refuse(self, option: str) -> NoReturn:
        """Raise NotHonoured: what cannot be honoured, and what to do instead."""
        instead = _REFUSED.get(option, "Its options are countdown, eta, queue, expires, priority")
        raise NotHonoured(f"{self.name}: a durable task has no `{option}`. {instead}.")

    @cached_property
    def queue(self) -> str:
        """Its own, or the one that the routes choose by its name."""
        if self.queue_name:
            return self.queue_name
        route = current_app.amqp.router.lookup_route(self.name) or {}
        queue = route.get("queue", current_app.conf.task_default_queue)
        return str(getattr(queue, "name", queue))

    @cached_property
    def time_limit(self) -> int:
        """Seconds until SoftTimeLimitExceeded is raised in the body: its own, or its queue's soft
        limit.
        """
        declared = queues.declared().get(self.queue)
        default = declared["soft_time_limit"] if declared else _WITHOUT_DECLARATION
        return self.limit or (min(default, LONGEST_ATOMIC) if self.atomic else default)

    @property
    def longest_debounce(self) -> float | None:
        """Seconds from the first call to the run, if the calls never pause."""
        return None if self.debounce is None else self.debounce * DEBOUNCED_AT_MOST

    @cached_property
    def columns(self) -> str:
        """What each job of this task has in common: members of a JSON object."""
        columns: dict[str, Any] = {
            "task": self.name,
            "queue": self.queue,
            "priority": self.priority,
            "countdown": self.debounce or 0,
            "max_attempts": self.max_attempts,
            "backoff": self.backoff,
            "time_limit": self.time_limit,
            "atomic": self.atomic,
            "tags": self.tags,
            "unique_running": self.unique == "until_finished",
        }
        if self.expires is not None:
            columns["expires_in"] = (self.debounce or 0) + self.expires
        return json.dumps(columns)[1:-1]

    def problem(self) -> str | None:
        """Why no process may start with this task, in a sentence; None if it is sound."""
        known = queues.declared()
        if known and self.queue not in known:
            return (
                f"The durable task {self.name} is routed to the queue {self.queue!r}, which is not"
                f" declared (declared: {', '.join(known)}): nobody would run it."
            )
        if self.atomic and self.time_limit > LONGEST_ATOMIC:
            return (
                f"The durable task {self.name} may take {self.time_limit} s in one transaction; the"
                f" limit is {LONGEST_ATOMIC}. Set a smaller time_limit, or atomic=False."
            )
        if known and self.time_limit >= known[self.queue]["time_limit"]:
            hard = known[self.queue]["time_limit"]
            return (
                f"The durable task {self.name} has time_limit={self.time_limit}, which is not below"
                f" the hard limit of its queue {self.queue!r} ({hard} s): a stop would kill it."
            )
        return None


def problems() -> list[str]:
    """Why no process may start with the durable tasks that are loaded: a sentence for each."""
    found = [problem for task in registry.values() if (problem := task.problem())]
    database = router.db_for_write(apps.get_model("reliable_jobs", "Job"))
    if database != DEFAULT_DB_ALIAS:
        found.append(
            f"The database router sends jobs to {database!r}; they must be in"
            f" {DEFAULT_DB_ALIAS!r}, with the data that they are committed with."
        )
    return found
