"""The servers of a run, a migrated database, and the means to start a project's processes."""

import contextlib
import importlib
import itertools
import os
import signal
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from project import end_once

from durable.figures import TINY, Figure, Sizes, say

if TYPE_CHECKING:
    from reliable.supervisor.programs import Program
    from reliable.testing.processes import Process
    from reliable.testing.servers import Servers
    from reliable.testing.system import System

# Data as safe as in production; what is fast in the test harness stays there.
POSTGRESQL = {"fsync": "on", "full_page_writes": "on"}

# Seconds for a program to start, and to end.
READY_WITHIN = 60.0
END_WITHIN = 60.0

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Stage:
    """What a measure gets."""

    system: "System"
    sizes: Sizes

    def start(self, program: "Program", ready: str) -> "Process":
        """Start a program with a log of its own, and wait until it has said that it is ready."""
        name = f"{program.name}-{next(_numbers)}"
        process = self.system.start(replace(program, name=name))
        process.wait_for_output(ready, timeout=READY_WITHIN)
        return process

    def end(self, processes: Sequence["Process"]) -> None:
        """Stop processes as a deploy does, and forget them, whose numbers others may get."""
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=END_WITHIN)
            self.system.processes.remove(process)

    def clear(self) -> None:
        """Empty the broker, and each table that a contestant writes. Nobody may be at work."""
        from django.db import connection
        from reliable.testing.events import here

        with connection.cursor() as cursor:
            cursor.execute(
                "TRUNCATE effects, reliable_job, reliable_worker, celery_outbox,"
                " procrastinate_jobs, procrastinate_workers, django_tasks_database_dbtaskresult"
                " CASCADE"
            )
        self.system.servers.broker.flush(self.system.broker_database)
        here().path.unlink(missing_ok=True)


def measured(names: Sequence[str], *, tiny: bool) -> int:
    """Take the measures of these names, and print each row; return the exit status."""
    end_once()
    figures: list[Figure] = []
    try:
        with stage(TINY if tiny else Sizes()) as here:
            for name in names:
                say(f"\n{name}")
                module = importlib.import_module(f"durable.{name}")
                for figure in module.measure(here):
                    say(str(figure))
                    figures.append(figure)
    except KeyboardInterrupt:
        say("stopped")
        return 130
    say("\nall")
    for figure in figures:
        say(str(figure))
    return int(not all(figure.met for figure in figures))


@contextlib.contextmanager
def stage(sizes: Sizes) -> Iterator[Stage]:
    """Start the servers in a temporary folder; whatever happens, nothing of it stays."""
    from reliable.testing.servers import Servers

    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        marker = uuid.uuid4().hex
        servers = Servers(directory / "servers", marker=marker, postgresql=POSTGRESQL)
        stack.callback(servers.stop)
        servers.start()
        # A killed one would leave its shared memory behind.
        stack.callback(_stop_postgresql, servers)
        servers.postgresql.create_database("measured")
        _configure(servers, directory, marker)
        system = _system(servers, directory, marker)
        stack.callback(system.close)
        yield Stage(system, sizes)


def _configure(servers: "Servers", directory: Path, marker: str) -> None:
    """Set this process up as a web process of the project, which calls tasks."""
    from reliable.testing.events import Events
    from reliable.testing.processes import MARKER

    benchmarks = Path(__file__).parents[1]
    os.environ.update(
        {
            "DJANGO_SETTINGS_MODULE": "durable.settings",
            "PYTHONPATH": f"{os.environ['PYTHONPATH']}:{benchmarks}",
            "ENV_FILE": os.devnull,
            "SECRET_KEY": uuid.uuid4().hex * 2,
            "DATABASE_URL": servers.postgresql.url("measured"),
            "BROKER_URL": servers.broker.broker_url(),
            "CACHE_URL": servers.cache.cache_url(),
            "EMAIL_URL": "console://",
            "LOG_LEVEL": "WARNING",
            MARKER: marker,
            Events.VARIABLE: str(directory / "events"),
        }
    )
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from durable.bodies import CREATE

    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(CREATE)


def _system(servers: "Servers", directory: Path, marker: str) -> "System":
    from reliable.testing.system import System

    system = System(
        servers,
        database="measured",
        broker_database=0,
        directory=directory,
        static_root=directory / "static",
        marker=marker,
    )
    system.environment.update(DJANGO_SETTINGS_MODULE="config.settings", LOG_LEVEL="INFO")
    return system


def _stop_postgresql(servers: "Servers") -> None:
    from django.db import connections

    connections.close_all()
    process = servers.processes["postgresql"]
    if process.alive:
        # Fast: TERM would wait for whoever has left a session open.
        os.kill(process.pid, signal.SIGINT)
        process.wait(timeout=END_WITHIN)
