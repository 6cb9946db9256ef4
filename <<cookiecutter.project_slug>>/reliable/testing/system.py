"""One test's running system: its own database, broker and processes, started as production does."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

from celery import current_app
from django.apps import apps
from django.conf import settings
from django.db import connection
from kombu import pools

from reliable.supervisor.control import Supervisord
from reliable.supervisor.programs import Layout, Program
from reliable.supervisor.render import Place, daemon, generation
from reliable.testing.events import Events
from reliable.testing.processes import MARKER, Process
from reliable.testing.proxy import Proxy
from reliable.testing.servers import Servers

_TEST_TASKS = "reliable.testing.tasks,reliable.testing.jobs,reliable.testing.batched"


class Answer(NamedTuple):
    """What a web process answered."""

    status: int
    text: str


class System:
    """Starts web, workers and beat of one or several releases against one test's servers.

    Celery and Django of the test process itself use the same database and broker, so that a test
    sends tasks with `.delay()` and looks at their effects with the ORM.
    """

    def __init__(
        self,
        servers: Servers,
        *,
        database: str,
        broker_database: int,
        directory: Path,
        static_root: Path,
        marker: str,
    ) -> None:
        self.servers = servers
        self.database = database
        self.broker_database = broker_database
        self.directory = directory
        self.processes: list[Process] = []
        self.proxies: list[Proxy] = []
        self.events = Events(directory / "events")
        self.port = _free_port()
        self.environment = {
            **os.environ,
            "DATABASE_URL": servers.postgresql.url(database),
            "BROKER_URL": servers.broker.broker_url(broker_database),
            "CACHE_URL": servers.cache.cache_url(),
            "STATIC_ROOT": str(static_root),
            "WEB_CONCURRENCY": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore:You're running the worker with superuser",
            MARKER: marker,
            Events.VARIABLE: str(self.events.path),
        }

    def settings(self, text: str) -> None:
        """Change Django's settings for the processes that are started from now on.

        text: Python, run after the project's own settings: `RELIABLE_PROBES = {"interval": 1}`.
        """
        module = "settings_of_the_test"
        own = f"from {settings.SETTINGS_MODULE} import *\n\n{text}\n"
        (self.directory / f"{module}.py").write_text(own, encoding="utf-8")
        self.environment["DJANGO_SETTINGS_MODULE"] = module
        paths = [str(self.directory), self.environment.get("PYTHONPATH", "")]
        self.environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))

    # --- what runs -------------------------------------------------------------------------------

    def layout(self, release: str = "a") -> Layout:
        """The production layout of a release, which names its generation too."""
        return Layout(
            deploy_id=release,
            queues=settings.QUEUES,
            settings=settings.SUPERVISOR,
            run_dir=self.directory,
            release=release,
        )

    def worker(
        self, queue: str = "default", *, release: str = "a", concurrency: int = 2
    ) -> Process:
        """Start a queue's worker, and wait until it consumes."""
        program = self.layout(release).worker(queue, concurrency=concurrency)
        process = self.start(_with_test_tasks(program))
        process.wait_for_output(" ready.")
        return process

    def web(self, *, release: str = "a", wsgi: str = "") -> Process:
        """Start gunicorn at `self.url`, and wait until it listens. wsgi: another site's module."""
        layout = self.layout(release)
        if wsgi:
            layout = replace(layout, settings={**layout.settings, "wsgi": wsgi})
        process = self.start(layout.web(binds=(f"127.0.0.1:{self.port}",)))
        process.wait_for_output("Booting worker")
        return process

    def relay(self, *, release: str = "a") -> Process:
        """Start a relay, and wait until it publishes."""
        process = self.start(_with_test_tasks(self.layout(release).relay()))
        process.wait_for_output("relay.started")
        return process

    def beat(self, *, release: str = "a") -> Process:
        process = self.start(self.layout(release).beat())
        process.wait_for_output("beat: Starting")
        return process

    def start(self, program: Program, *, directory: Path | None = None) -> Process:
        """Start any program, in `directory` if another release's code is meant."""
        return self.run(
            program.name, program.command, environment=program.environment, directory=directory
        )

    def run(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> Process:
        """Start any command in the system's environment."""
        process = Process(
            name,
            command,
            environment={**self.environment, **(environment or {})},
            directory=directory or settings.SUPERVISOR["directory"],
            log=self.directory / f"{name}.log",
        )
        self.processes.append(process)
        return process.start()

    def supervised(self, programs: Sequence[Program], *, release: str = "a") -> Supervisord:
        """Run programs under a real supervisord, from the file that production gets."""
        socket_path = self.directory / "supervisor.sock"
        place = Place(
            directory=settings.SUPERVISOR["directory"], log_dir=self.directory, home=Path.home()
        )
        listed = [_with_test_tasks(program) for program in programs]
        text = "\n".join(
            [
                daemon(socket=socket_path, log_dir=self.directory, run_dir=self.directory),
                generation(release, listed, place),
            ]
        )
        configuration = self.directory / "supervisord.conf"
        configuration.write_text(text, encoding="utf-8")
        self.run(
            "supervisord",
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)],
        )
        return Supervisord(configuration, socket_path)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> Answer:
        """Fetch a page as the TLS proxy in front of the web process would."""
        with contextlib.closing(HTTPConnection("127.0.0.1", self.port, timeout=10)) as site:
            site.request("GET", path, headers={"X-Forwarded-Proto": "https"})
            answer = site.getresponse()
            return Answer(answer.status, answer.read().decode())

    def answers(self) -> bool:
        """Whether a web process answers at `self.url`, whatever it says."""
        try:
            return self.get("/").status > 0
        except OSError:
            return False

    # --- what stands between ---------------------------------------------------------------------

    def broker_proxy(self) -> Proxy:
        """Put a proxy before the broker, for the processes that are started from now on."""
        proxy = self._proxy(self.servers.broker.socket)
        url = f"redis://127.0.0.1:{proxy.port}/{self.broker_database}"
        self.environment["BROKER_URL"] = url
        return proxy

    def database_proxy(self) -> Proxy:
        """Put a proxy before PostgreSQL, for the processes that are started from now on."""
        proxy = self._proxy(self.servers.postgresql.sockets / ".s.PGSQL.5432")
        url = f"postgresql://app@127.0.0.1:{proxy.port}/{self.database}"
        self.environment["DATABASE_URL"] = url
        return proxy

    def waiting(self, queue: str) -> int:
        """Messages in a queue's lists, one for each priority."""
        with self.servers.broker.client(self.broker_database) as client:
            return sum(int(client.llen(key)) for key in (queue, *client.keys(f"{queue}\x06*")))

    def _proxy(self, upstream: Path) -> Proxy:
        proxy = Proxy(upstream)
        self.proxies.append(proxy)
        return proxy

    @contextlib.contextmanager
    def used_by_this_process(self) -> Iterator[None]:
        """Let the ORM and `.delay()` of the test itself work on this system."""
        broker_url = current_app.conf.broker_write_url
        _point_celery_at(self.environment["BROKER_URL"])
        try:
            with connected_to(self.servers, self.database):
                yield
        finally:
            _point_celery_at(broker_url)

    # --- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """End every process that the test started; TERM first, so that supervisord ends its own."""
        for process in reversed(self.processes):
            if process.alive and process.name == "supervisord":
                process.terminate()
                process.wait(timeout=60)
            process.end()
        for proxy in self.proxies:
            proxy.close()


@contextlib.contextmanager
def connected_to(servers: Servers, database: str) -> Iterator[None]:
    """Point Django's connection in this process at a database."""
    original = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict["NAME"] = database
    connection.settings_dict["OPTIONS"] = {
        **original["OPTIONS"],
        "host": str(servers.postgresql.sockets),
    }
    _forget_content_types()
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(original)
        _forget_content_types()


def _forget_content_types() -> None:
    # Django caches their numbers, which differ from database to database.
    if apps.is_installed("django.contrib.contenttypes"):
        apps.get_model("contenttypes.ContentType").objects.clear_cache()


def _point_celery_at(url: str) -> None:
    # Celery and kombu keep the old address and connections; there is no public way to drop them.
    # Not `broker_url`: what stands in Django's settings wins over an assignment to it.
    app: Any = current_app
    app.conf.broker_write_url = url
    pools.reset()
    app._pool = None  # noqa: SLF001
    app.amqp._producer_pool = None  # noqa: SLF001


def _with_test_tasks(program: Program) -> Program:
    if not {"worker", "relay"} & set(program.arguments):
        return program
    return replace(
        program,
        arguments=(*program.arguments, "--include", _TEST_TASKS),
    )


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
