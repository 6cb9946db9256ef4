"""What a test's code has sent, without a broker: the fixture `dispatched`.

A test in a transaction never commits, so nothing would be sent; here the end of the code's own
outermost `atomic()` counts as its commit, and what it rolled back was never sent.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, overload
from unittest.mock import patch

from django.db import connections
from kombu.utils.uuid import uuid

from reliable.tasks import Dispatch, Task

# Tasks that send each other for ever end here.
_MOST_RUNS = 1000


class Dispatched(NamedTuple):
    """One task that was sent: its name, id, arguments as a worker gets them, and options."""

    name: str
    id: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]


class Dispatches(Sequence[Dispatched]):
    """The tasks that were sent, or will be when this test's open transaction commits, in order."""

    def __init__(self) -> None:
        self._sent: list[Dispatch] = []
        self._sent_ids: set[str] = set()

    @property
    def names(self) -> list[str]:
        """The names of the tasks, for the usual assertion."""
        return [each.name for each in self]

    @overload
    def __getitem__(self, index: int) -> Dispatched: ...
    @overload
    def __getitem__(self, index: slice) -> list[Dispatched]: ...
    def __getitem__(self, index: int | slice) -> Dispatched | list[Dispatched]:
        every = [
            Dispatched(str(each.task.name), each.task_id, each.args, each.kwargs, each.options)
            for each in (*self._sent, *(waiting for waiting, *_ in self._waiting()))
        ]
        return every[index]

    def __len__(self) -> int:
        return len(self._sent) + len(self._waiting())

    def __repr__(self) -> str:
        return repr(list(self))

    def run(self) -> None:
        """Run them in this process, and what they send, until nothing is left.

        The exception of a task ends it, and is raised here.
        """
        for _ in range(_MOST_RUNS):
            if not self._sent:
                self._sent = self._commit()
            if not self._sent:
                return
            each = self._sent.pop(0)
            each.task.apply(each.args, each.kwargs, task_id=each.task_id, throw=True)
        raise AssertionError(f"after {_MOST_RUNS} tasks there are more: do they send each other?")

    def record(
        self, task: Task, args: Any, kwargs: Any, task_id: str | None, **options: Any
    ) -> Any:
        """Stand in for the broker."""
        args, kwargs = task._checked(args or (), kwargs or {}, options)  # noqa: SLF001
        options.pop("producer", None)
        self._sent.append(Dispatch(task, task_id or uuid(), args, kwargs, options, None))
        self._sent_ids.add(self._sent[-1].task_id)
        return task.AsyncResult(self._sent[-1].task_id)

    def _waiting(self) -> list[tuple[Dispatch, Any, Any]]:
        """Each dispatch that waits for a commit, with its connection and its entry there."""
        return [
            (entry[1], connection, entry)
            for connection in connections.all(initialized_only=True)
            for entry in connection.run_on_commit
            # Django's captureOnCommitCallbacks runs an entry and leaves it where it is.
            if isinstance(entry[1], Dispatch) and entry[1].task_id not in self._sent_ids
        ]

    def _commit(self) -> list[Dispatch]:
        """Take the waiting dispatches away from their transactions."""
        waiting = self._waiting()
        for _, connection, entry in waiting:
            connection.run_on_commit.remove(entry)
        return [dispatch for dispatch, *_ in waiting]


@contextmanager
def recorded() -> Iterator[Dispatches]:
    """Record what is sent instead of sending it. The fixture `dispatched` is this; so can be
    `self.enterContext(recorded())` in a unittest.TestCase.
    """
    dispatches = Dispatches()

    def record(task: Task, *args: Any, **options: Any) -> Any:
        return dispatches.record(task, *args, **options)

    with patch.object(Task, "_send", record):
        yield dispatches
