"""One program in the foreground of a terminal, so that `breakpoint()` has one to talk to."""

import os
import signal
import subprocess

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from reliable.development import configuration
from reliable.development.paths import DEVELOPMENT
from reliable.development.services import services
from reliable.supervisor.control import Supervisord
from reliable.supervisor.programs import Program


def run(name: str) -> int:
    """Run `web`, `worker-<queue>` or `beat` until it ends; return its exit status.

    While `make dev` runs in another terminal, its own process of that name rests meanwhile.
    """
    program = _program(name)
    for service in services():
        if not service.server.answers():
            raise ImproperlyConfigured(
                f"{service.name} is not running: start it with `make services` in another terminal,"
                " or everything with `make dev`."
            )
    supervisord = Supervisord(DEVELOPMENT.configuration, DEVELOPMENT.supervisor_socket)
    full_name = configuration.full_name(program.name)
    resting = supervisord.runs(full_name)
    if resting:
        supervisord.stop_program(full_name)
    try:
        return _in_foreground(program)
    finally:
        if resting:
            supervisord.start_program(full_name)


def _program(name: str) -> Program:
    layout = configuration.layout(settings.QUEUES)
    queue = name.removeprefix("worker-")
    if name == "web":
        # No time-out: a request that waits at a breakpoint is not hung.
        return layout.web(binds=("127.0.0.1:8001",), options=("--timeout", "0"))
    if name == "beat":
        return layout.beat()
    if name.startswith("worker-") and queue in settings.QUEUES:
        # In one process: a pool's child has no terminal, and would be killed at its time limit.
        return layout.worker(queue, concurrency=1, pool="solo")
    known = ", ".join(["web", *(f"worker-{queue}" for queue in settings.QUEUES), "beat"])
    raise ImproperlyConfigured(f"There is no program {name!r}; there are {known}.")


def _in_foreground(program: Program) -> int:
    environment = {**os.environ, **program.environment}
    process = subprocess.Popen(program.command, env=environment, cwd=DEVELOPMENT.project)
    # The terminal sends Ctrl-C to the program as well, which stops in its own time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: process.terminate())
    return process.wait()
