"""Tasks for tests; workers of the harness load them with `--include`."""

import os
import signal
import time

from celery import shared_task

from reliable.testing.events import here


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
