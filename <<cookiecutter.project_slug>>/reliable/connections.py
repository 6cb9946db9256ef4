"""Database connections of workers: kept from task to task, as web processes keep theirs.

Celery's Django fixup closes them before and after each task, although `CONN_MAX_AGE` says
otherwise: opening one costs more than most tasks. Kept is none with a transaction that a task has
left open.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery.fixups.django import DjangoWorkerFixup  # type: ignore[attr-defined]
from django.db import connections


def keep() -> None:
    """Let workers close what the next task cannot use, and nothing else."""
    DjangoWorkerFixup.close_database = _between_tasks


def _between_tasks(self: DjangoWorkerFixup, **_: Any) -> None:
    _leave_transactions()


@contextmanager
def own_transactions() -> Iterator[None]:
    """Leave no transaction open that began in here; in one, as in a test, do nothing."""
    inside = any(each.in_atomic_block for each in connections.all(initialized_only=True))
    try:
        yield
    finally:
        if not inside:
            _leave_transactions()


def _leave_transactions() -> None:
    """Close this thread's connections that are broken, too old, or in a transaction.

    A soft time limit is an exception between any two lines, also between those with which Django's
    `atomic()` counts its blocks. Then Django takes all that follows in this thread for a part of
    the transaction that was left, and commits none of it.
    """
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            connection.close()
            # Closed alone, it would still count the block.
            del connections[connection.alias]
        else:
            connection.close_if_unusable_or_obsolete()
