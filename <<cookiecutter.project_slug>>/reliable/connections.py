"""Database connections of workers: kept from task to task, as web processes keep theirs.

Celery's Django fixup closes them before and after each task, although `CONN_MAX_AGE` says
otherwise: opening one costs more than most tasks.
"""

from typing import Any

from celery.fixups.django import DjangoWorkerFixup  # type: ignore[attr-defined]
from django.db import close_old_connections


def keep() -> None:
    """Let workers close what is broken or too old, and nothing else."""
    DjangoWorkerFixup.close_database = _close_old


def _close_old(self: DjangoWorkerFixup, **_: Any) -> None:
    close_old_connections()
