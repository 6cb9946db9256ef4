"""A durable task that runs in batches, and misbehaves as it is told to."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from django.db import DatabaseError, OperationalError, connection, transaction

from reliable.jobs import Discard, Snooze, current_job, durable_task
from reliable.testing import effects
from reliable.testing.events import here
from reliable.testing.waiting import wait_until


@durable_task(queue="default", max_attempts=2, backoff=0, time_limit=1, batch=50)
def batched(name: str, does: str = "") -> str:
    """Write its name, then do as one of the functions below."""
    effects.add(name)
    if does:
        here().record(does, name)
        _DEEDS[does](name)
    return name


@durable_task(queue="default", time_limit=60, batch=50)
def batched_patiently(name: str, does: str = "") -> str:
    """The same, for as long as a test may take."""
    return batched(name, does)


@durable_task(queue="default", max_attempts=50, backoff=0, batch=50)
def batched_effect(name: str, seconds: float = 0.0) -> None:
    """Write its name, and keep the transaction open for so long."""
    effects.add(name)
    if seconds:
        time.sleep(seconds)


@durable_task(queue="default", unique=True, batch=50)
def batched_count(which: str) -> int:
    """The number of purchases that it sees; which: its name."""
    here().record("start", which)
    return effects.purchases()


def _raise(name: str) -> None:
    raise ValueError(f"{name} is wrong")


def _raise_after_a_hook(name: str) -> None:
    transaction.on_commit(lambda: here().record("hook", name))
    _raise(name)


def _kill(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_worker(_: str) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def _hang(_: str) -> None:
    while True:
        time.sleep(0.1)


def _hang_in_c(_: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGALRM})
    while True:
        time.sleep(0.1)


def _hang_in_postgresql(_: str) -> None:
    _execute("SELECT pg_sleep(600)")


def _break_commit(_: str) -> None:
    """What a deferred constraint says at the commit, for all that share it."""
    _execute("INSERT INTO promise VALUES ('nothing')")


def _end_session(_: str) -> None:
    _execute("SELECT pg_terminate_backend(pg_backend_pid())")


def _roll_back(_: str) -> None:
    transaction.set_rollback(True)


def _meet_deadlock(_: str) -> None:
    raise OperationalError("deadlock detected")


def _leave_block_open(name: str) -> None:
    """As a time limit may that comes while a block is being entered."""
    transaction.atomic().__enter__()
    _raise(name)


def _swallow(_: str) -> None:
    """Catch what PostgreSQL said, which refuses all that follows in this transaction."""
    with suppress(DatabaseError):
        _execute("SELECT 1/0")


def _snooze_once(name: str) -> None:
    if len(here().of("snoozes")) == 1:
        raise Snooze(0.1)
    here().record("woke", name)


def _discard(name: str) -> None:
    raise Discard(f"nobody wants {name}")


def _hook_raises(name: str) -> None:
    transaction.on_commit(lambda: here().record("hook", name))
    transaction.on_commit(lambda: _leave_block_open(name))
    transaction.on_commit(lambda: here().record("later hook", name))


def _hook(name: str) -> None:
    batched.delay(f"{name}'s child")
    transaction.on_commit(lambda: here().record("hook", f"{name} {current_job().id}"))
    transaction.on_commit(lambda: batched.delay(f"{name}'s child"))


def _wait(_: str) -> None:
    """As long as its time limit allows, for what the test does meanwhile."""
    wait_until(lambda: here().of("released"), "the event released", timeout=60)


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


_DEEDS: dict[str, Callable[[str], None]] = {
    "raises": _raise_after_a_hook,
    "kills": _kill,
    "kills its worker": _kill_worker,
    "hangs": _hang,
    "hangs in C": _hang_in_c,
    "hangs in PostgreSQL": _hang_in_postgresql,
    "breaks the commit": _break_commit,
    "ends the session": _end_session,
    "rolls back": _roll_back,
    "meets a deadlock": _meet_deadlock,
    "leaves a block open": _leave_block_open,
    "swallows an error": _swallow,
    "snoozes": _snooze_once,
    "discards": _discard,
    "has a hook that raises": _hook_raises,
    "has hooks": _hook,
    "waits": _wait,
}
