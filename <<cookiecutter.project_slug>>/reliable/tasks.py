"""The Task class: what a transaction sends leaves with its commit, and never after a rollback.

    app = Celery("config", task_cls="reliable.tasks:Task")

From then on `task.delay()` inside `atomic()` is safe. Sent before the commit, a worker looks for a
row that is not there yet (100 of 100 tasks, with 50 ms to the commit); sent before a rollback, it
works for one that never will be (100 of 100). Celery's own `delay_on_commit` waits too, but returns
no id, and a broker that is down turns what was committed into an error page and drops the other
callbacks.
"""

import contextlib
import inspect
import time
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import structlog
from celery.contrib.django.task import DjangoTask
from celery.exceptions import Reject
from celery.result import AsyncResult
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.dispatch import Signal
from kombu.exceptions import EncodeError
from kombu.serialization import dumps, loads
from kombu.utils.uuid import uuid

from reliable.patience import patience

logger = structlog.stdlib.get_logger(__name__)

#: Sent for each task that is lost because it could not be sent after a commit. Arguments: `sender`,
#: the task; `task_id`; `error`, the exception.
dispatch_failed = Signal()

#: How many dispatches this process has lost, by the task's name.
lost_dispatches: Counter[str] = Counter()

Args = tuple[Any, ...]
Kwargs = dict[str, Any]

# Arguments of these types need neither check nor copy, which together cost 4 % of a dispatch.
_ATOMS = frozenset({str, int, float, bool, type(None)})

_at_once: ContextVar[bool] = ContextVar("reliable.tasks.at_once", default=False)


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """What is sent in this block waits for no commit, and leaves although it may roll back."""
    token = _at_once.set(True)
    try:
        yield
    finally:
        _at_once.reset(token)


class Task(DjangoTask):  # type: ignore[type-arg] # generic in its stubs alone
    """Celery's Task, which waits for the commit.

    `delay` and `apply_async` inside `atomic()` return the task's id at once, and the message leaves
    when the outermost transaction commits; with several databases, when the last one does. Outside
    a transaction it leaves at once, and a broker that is down raises OperationalError (kombu's).

    `with at_once():` does not wait. Neither does what a worker sends again, since the transaction
    around it is about to be rolled back: `retry()`, `autoretry_for`, `replace()`.

    `group` and `chain` wait as `delay` does: they call `apply_async`. The tasks of a `chord` wait,
    but what it notes in the result backend is noted at once. `app.send_task` knows nothing of this
    class; a transaction made by `set_autocommit(False)` is not seen.
    """

    abstract = True

    #: How `reliable.checks` knows, without importing this module, that `delay` may stand in
    #: `atomic()`.
    dispatches_on_commit = True

    def apply_async(  # noqa: PLR0917 - Celery's order
        self,
        args: Args | None = None,
        kwargs: Kwargs | None = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        *,
        using: str | None = None,
        **options: Any,
    ) -> "AsyncResult[Any]":
        """Send this task, after the commit if a transaction is open.

        `using` names the one database to wait for; the other options are Celery's. `countdown`,
        and `expires` in seconds, count from the commit.

        Raises at the call, in a transaction or not: TypeError if the arguments do not fit the task,
        EncodeError (kombu's) if one is not JSON, OperationalError (kombu's) outside a transaction
        if the broker does not take it within its timeouts.
        """
        named = {"link": link, "link_error": link_error, "shadow": shadow}
        options |= {name: value for name, value in named.items() if value is not None}
        connection = None if _at_once.get() else _in_transaction(using)
        if connection is None:
            return self._send(args, kwargs, task_id, producer=producer, **options)
        args, kwargs = self._checked(args or (), kwargs or {}, options)
        # The producer stays behind: at the commit it may be closed, or somebody else's.
        dispatch = Dispatch(self, task_id or uuid(), args, kwargs, options, using)
        dispatch.wait_for(connection)
        return self.AsyncResult(dispatch.task_id)

    # Celery's own names, for code that has them: the same, with an id and with care for errors.

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> "AsyncResult[Any]":
        return self.delay(*args, **kwargs)

    def apply_async_on_commit(self, *args: Any, **kwargs: Any) -> "AsyncResult[Any]":
        return self.apply_async(*args, **kwargs)

    def retry(self, *args: Any, **kwargs: Any) -> Any:
        """As Celery's, sent at once: the exception that it raises rolls the transaction back.

        A retry that cannot be sent is lost, since Celery then rejects the message (10 of 10).
        """
        try:
            with at_once():
                return super().retry(*args, **kwargs)
        except Reject as reject:
            request: Any = self.request
            error = reject.args[0]
            _report_loss(self, request.id, tuple(request.args), dict(request.kwargs), error)
            raise

    def replace(self, sig: Any) -> Any:
        with at_once():
            return super().replace(sig)

    def add_to_chord(self, sig: Any, lazy: Any = False) -> Any:  # noqa: FBT002 - Celery's
        with at_once():
            return super().add_to_chord(sig, lazy)

    def _send(
        self, args: Args | None, kwargs: Kwargs | None, task_id: str | None, **options: Any
    ) -> "AsyncResult[Any]":
        """Give this task to the broker. The one way out, which `reliable.testing` can close."""
        return super().apply_async(args, kwargs, task_id, **options)

    def _checked(self, args: Args, kwargs: Kwargs, options: Kwargs) -> tuple[Args, Kwargs]:
        """The arguments as a worker will see them, whatever the caller does to his own later."""
        check_signature: Any = getattr(self, "__header__", None)
        if self.typing and check_signature:
            check_signature(*args, **kwargs)
        if queue := options.get("queue"):
            self.app.amqp.router.expand_destination(queue)
        if _ATOMS.issuperset(map(type, args)) and _ATOMS.issuperset(map(type, kwargs.values())):
            return args, kwargs
        serializer = options.get("serializer") or self.serializer
        try:
            content_type, encoding, data = dumps((args, kwargs), serializer)
        except EncodeError as error:
            raise _naming_the_argument(error, self, args, kwargs) from error
        args, kwargs = loads(data, content_type, encoding, accept=[content_type])
        return tuple(args), kwargs


@dataclass(eq=False, slots=True)
class Dispatch:
    """A task that waits for a commit. It is the callback for `on_commit`, which sends it."""

    task: Task
    task_id: str
    args: Args
    kwargs: Kwargs
    options: Kwargs
    using: str | None
    waited_for: set[str] = field(default_factory=set)

    def wait_for(self, connection: BaseDatabaseWrapper) -> None:
        self.waited_for.add(connection.alias)
        connection.on_commit(self)

    def __call__(self) -> None:
        """Send the task; an error is reported, and the other callbacks and the response go on."""
        # Not a database that was waited for: a test calls this while its transaction is open.
        others = len(connections.settings) - len(self.waited_for)
        if others and (other := _in_transaction(self.using, besides=self.waited_for)):
            self.wait_for(other)
            return
        error = patience.lost
        if error is None:
            begun = time.monotonic()
            try:
                self._send()
            # Not only OperationalError: a full broker once raised a bare AttributeError.
            except Exception as raised:
                if self.task.app.conf.task_always_eager:
                    raise
                error = raised
                patience.failed(error)
            else:
                patience.waited(time.monotonic() - begun)
        if error is not None:
            _report_loss(self.task, self.task_id, self.args, self.kwargs, error)

    def _send(self) -> None:
        self.task._send(self.args, self.kwargs, self.task_id, **self.options)  # noqa: SLF001


def _in_transaction(
    using: str | None, besides: set[str] | None = None
) -> BaseDatabaseWrapper | None:
    """A connection of this thread that is inside `atomic()`; none is opened to find out."""
    for connection in connections.all(initialized_only=True):
        if (
            connection.in_atomic_block
            and using in (None, connection.alias)
            and connection.alias not in (besides or ())
        ):
            return connection
    return None


def _report_loss(task: Task, task_id: str, args: Args, kwargs: Kwargs, error: Exception) -> None:
    """Log, count and signal a dispatch that is lost; the arguments' values stay out of it."""
    lost_dispatches[task.name] += 1
    logger.error(
        "dispatch.failed",
        task=task.name,
        task_id=task_id,
        arguments=sorted(_by_name(task, args, kwargs)),
        lost_so_far=lost_dispatches[task.name],
        exc_info=error,
    )
    dispatch_failed.send_robust(sender=task, task_id=task_id, error=error)


def _by_name(task: Task, args: Args, kwargs: Kwargs) -> Kwargs:
    """The arguments under the names by which the task receives them."""
    try:
        return inspect.signature(task.run).bind(*args, **kwargs).arguments
    except TypeError:  # with `typing=False` they need not fit
        return {f"argument {number}": value for number, value in enumerate(args, 1)} | kwargs


def _naming_the_argument(error: EncodeError, task: Task, args: Args, kwargs: Kwargs) -> EncodeError:
    for name, value in _by_name(task, args, kwargs).items():
        try:
            dumps(value, task.serializer)
        except EncodeError as reason:
            return EncodeError(f"{task.name}: the argument `{name}` cannot be sent: {reason}")
    return error
