"""Tasks for tests; workers of the harness load them with `--include`."""

import os
import signal
import time
from typing import Any

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection, transaction

from reliable.testing import effects
from reliable.testing.events import here
from reliable.testing.waiting import wait_until


@shared_task
def nap(name: str, seconds: float = 0.0) -> None:
    """Note the start and the end, and sleep between."""
    here().record("start", name)
    time.sleep(seconds)
    here().record("end", name)


@shared_task
def kill_own_process(name: str) -> None:
    """Die as by the kernel's out-of-memory killer."""
    here().record("start", name)
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(bind=True, max_retries=1)
def retry_once_in_a_transaction(self: Any, name: str, wait_for: str = "") -> None:
    """Ask for another attempt, and thereby roll back the transaction that asks.

    Before that, wait until the test has recorded the event `wait_for`, if it names one.
    """
    here().record("start", name)
    wait_until(lambda: not wait_for or here().of(wait_for), f"the event {wait_for}")
    with transaction.atomic():
        if not self.request.retries:
            raise self.retry(countdown=0)
    here().record("end", name)


@shared_task(bind=True)
def replace_itself_in_a_transaction(self: Any, name: str) -> None:
    """Hand over to `nap`, and thereby roll back the transaction that does."""
    with transaction.atomic():
        raise self.replace(nap.s(name))


@shared_task
def add_effect(name: str) -> None:
    """Write its name, in a transaction of its own, and note through which session."""
    with transaction.atomic():
        effects.add(name)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            [session] = cursor.fetchone() or [0]
    here().record("session", str(session))
    here().record("end", name)


@shared_task
def leave_a_block_open(name: str) -> None:
    """End as by a time limit that comes while a block is being entered."""
    transaction.atomic().__enter__()
    effects.add(name)
    raise SoftTimeLimitExceeded


@shared_task
def fail(password: str) -> None:
    """Raise an exception that quotes its argument, as exceptions do."""
    raise ValueError(f"{password} is wrong")
