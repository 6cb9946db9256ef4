"""Durable tasks for tests; workers of the harness load them with `--include`."""

import os
import resource
import signal
import time

from django.db import connection, transaction

from reliable.jobs import current_job, durable_task
from reliable.testing import effects
from reliable.testing.events import here
from reliable.testing.waiting import wait_until


@durable_task(queue="default")
def note(name: str) -> str:
    """Note that it ran."""
    here().record("note", name)
    return name


@durable_task(queue="default")
def rest(name: str, seconds: float) -> None:
    """Take so long, and do nothing in the database."""
    time.sleep(seconds)


@durable_task(queue="default", max_attempts=2, backoff=0, secret=["password"])
def fail_always(password: str) -> None:
    """Raise an exception that quotes its argument, as exceptions do."""
    here().record("fail", "always")
    raise ValueError(f"{password} is wrong")


@durable_task(queue="default", max_attempts=50, backoff=0)
def effect(name: str, seconds: float = 0.0) -> None:
    """Write its name, and keep the transaction open for so long."""
    effects.add(name)
    if seconds:
        here().record("start", name)
        time.sleep(seconds)


@durable_task(queue="default", max_attempts=50, backoff=0)
def effect_at(name: str, event: str) -> None:
    """Lock the purchase and write its name; commit when the test has recorded the event."""
    effects.lock(name)
    effects.add(name)
    here().record("start", name)
    wait_until(lambda: here().of(event), f"the event {event}", timeout=90)
    here().record("end", name)


@durable_task(queue="default", max_attempts=50, backoff=0, atomic=False)
def work_until(name: str, event: str) -> None:
    """Work outside of the database until the test has recorded the event."""
    here().record("start", name)
    wait_until(lambda: here().of(event), f"the event {event}", timeout=90)
    here().record("end", name)


@durable_task(queue="default", max_attempts=2, backoff=0, on_failed=note)
def kill_own_process(name: str) -> None:
    """Die as by the kernel's out-of-memory killer."""
    effects.add(name)
    here().record("start", name)
    os.kill(os.getpid(), signal.SIGKILL)


@durable_task(queue="default", max_attempts=2, backoff=0, time_limit=1, on_failed=note)
def hang(name: str) -> None:
    """Never end."""
    effects.add(name)
    here().record("start", name)
    while True:
        time.sleep(0.1)


@durable_task(queue="default", max_attempts=2, backoff=0, time_limit=1, on_failed=note)
def hang_in_c(name: str) -> None:
    """Never return to Python, so that the soft limit is not noticed."""
    effects.add(name)
    here().record("start", name)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    while True:
        time.sleep(0.1)


@durable_task(queue="default", max_attempts=2, backoff=0, time_limit=5)
def hang_in_postgresql_once(name: str) -> None:
    """Lock the purchase; the first time, then wait for a statement that does not end."""
    effects.lock(name)
    if current_job().attempt == 1:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(600)")


@durable_task(queue="default", unique=True)
def count_purchases(which: str) -> int:
    """The number of purchases that it sees."""
    here().record("start", which)
    return effects.purchases()


@durable_task(queue="default", max_attempts=1, backoff=0, on_failed=note)
def kill_worker(name: str) -> None:
    """Take its whole worker along, as a machine that dies does."""
    effects.add(name)
    here().record("start", name)
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


@durable_task(queue="default", max_attempts=2, backoff=0)
def exhaust_memory(name: str) -> None:
    """Ask for more than its process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**31, hard))
    try:
        here().record("start", name)
        bytearray(2**32)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@durable_task(queue="default")
def die_before_hooks(name: str) -> None:
    """Be killed when the commit has been done, before a hook ran; enqueue a job, too."""
    effects.add(name)
    transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
    transaction.on_commit(lambda: here().record("hook", name))
    note.delay(name)
