"""`make dev` and `make services`: start, show, reload on save, and stop all of it."""

import http.client
import logging
import re
import signal
import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection

from reliable import queues
from reliable.development import configuration
from reliable.development.changes import Changes, syntax_errors
from reliable.development.output import Output, Tail
from reliable.development.paths import DEVELOPMENT
from reliable.development.servers import PostgreSQL
from reliable.development.services import Service, services
from reliable.supervisor.control import Supervisord
from reliable.supervisor.programs import Program

_TICK = 0.1
_DEADLINE = 60.0

# How each program says in its log that it works.
_READY = re.compile(r" ready\.$|Listening at|beat: Starting|relay\.started")
# What the reloader says of a program that could not read the project.
_ENDED = re.compile(r"^ended with exit status")
# What the servers say at each start and stop, of no use to a developer.
_NOISE = re.compile(r"overcommit|signal-handler|ready to exit|shutdown request|is starting up")
_FAILED = {"BACKOFF", "FATAL", "EXITED"}


class Stopped(Exception):  # noqa: N818 - a request, not an error
    """TERM or INT arrived."""


class Runner:
    """Everything of one project in the foreground of one terminal."""

    def __init__(self, *, port: int, with_programs: bool) -> None:
        self.port = port
        self.with_programs = with_programs
        self.output = Output()
        self.supervisord = Supervisord(DEVELOPMENT.configuration, DEVELOPMENT.supervisor_socket)
        self.tails: dict[str, Tail] = {}
        # Programs that said so in their log, the second because of an error in the project.
        self.ready: set[str] = set()
        self.ended: set[str] = set()
        self.needed: list[Service] = []
        self.programs: list[Program] = []

    def run(self) -> int:
        """Return the exit status, after TERM, INT or a failure has ended every process."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _stop)
        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        changes = None
        started = time.monotonic()
        try:
            if self.with_programs:
                # Before all else: what cannot start is shown at once, and may be mended at once.
                changes = Changes(DEVELOPMENT.project)
            needed = [service for service in services() if not service.server.answers()]
            self._prepare(needed)
            self._start(needed)
            self._say(f"ready in {time.monotonic() - started:.1f} s; Ctrl-C stops everything.")
            if self.with_programs:
                self._say(f"the site is at http://127.0.0.1:{self.port}/")
            while True:
                self._show()
                if changes and (saved := changes.take()):
                    self._reload(saved)
                time.sleep(_TICK)
        except Stopped:
            self._say("stopping")
        except ImproperlyConfigured as error:
            self._say(f"error: {error}")
            return 1
        finally:
            _ignore_signals()
            if changes:
                changes.stop()
            # All programs at once: by itself supervisord ends one group after the other.
            for name in self._names():
                self.supervisord.stop_program(configuration.full_name(name), wait=False)
            self.supervisord.stop()
            self._show()
        return 0

    def _prepare(self, needed: list[Service]) -> None:
        if self.supervisord.alive():
            raise ImproperlyConfigured(
                f"This project already runs in another terminal (process {self.supervisord.pid()}):"
                f" stop it there with Ctrl-C, or with `kill {self.supervisord.pid()}`."
            )
        DEVELOPMENT.logs.mkdir(parents=True, exist_ok=True)
        DEVELOPMENT.make_sockets_directory()
        for log in DEVELOPMENT.logs.glob("*.log"):
            log.unlink()
        for service in needed:
            service.server.prepare()
        self._configure(needed, settings.QUEUES)

    def _configure(self, needed: list[Service], declared: dict[str, queues.Queue]) -> None:
        self.needed = needed
        self.programs = configuration.programs(declared, self.port) if self.with_programs else []
        text = configuration.render(needed, self.programs)
        DEVELOPMENT.configuration.write_text(text, encoding="utf-8")
        for name in [*(service.name for service in needed), "preload", *self._names()]:
            self.tails.setdefault(name, Tail(DEVELOPMENT.logs / f"{name}.log"))

    def _start(self, needed: list[Service]) -> None:
        self.supervisord.start()
        for service in needed:
            self._wait(service.server.answers, service.name)
            if isinstance(service.server, PostgreSQL):
                service.server.create_database(settings.DATABASES["default"]["NAME"])
        if self.with_programs:
            call_command("migrate", interactive=False, verbosity=0)
            connection.close()
            self._wait(self.supervisord.alive, "supervisord")
            for name in self._names():
                self.supervisord.start_program(configuration.full_name(name))
            self._wait(lambda: set(self._names()) <= self.ready | self.ended, *self._names())
            web = self.programs[0].name
            self._wait(lambda: web in self.ended or self._answers(), web)
            if self.ended:
                names = ", ".join(sorted(map(configuration.short_name, self.ended)))
                self._say(f"not started: {names}; mend the error above, and the save starts them.")

    def _wait(self, condition: Callable[[], bool], *names: str) -> None:
        """Wait for a condition; give up when a program that it needs has failed."""
        deadline = time.monotonic() + _DEADLINE
        while not condition():
            self._show()
            states = self.supervisord.states()
            failed = [
                name for name in names if states.get(configuration.full_name(name)) in _FAILED
            ]
            if failed or time.monotonic() > deadline:
                culprit = (failed or [name for name in names if name not in self.ready] or names)[0]
                raise ImproperlyConfigured(
                    f"{configuration.short_name(culprit)} did not start; its last words are above,"
                    f" and in {DEVELOPMENT.logs / culprit}.log."
                )
            time.sleep(_TICK)

    def _answers(self) -> bool:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)) as web:
            try:
                web.request("GET", "/", headers={"Host": "localhost"})
                return web.getresponse().status < http.client.INTERNAL_SERVER_ERROR
            except OSError:
                return False

    def _reload(self, saved: set[Path]) -> None:
        names = ", ".join(sorted(str(path.relative_to(DEVELOPMENT.project)) for path in saved))
        errors = list(syntax_errors(saved))
        for error in errors:
            where = Path(str(error.filename)).relative_to(DEVELOPMENT.project)
            self._say(
                f"not reloaded: {where}:{error.lineno}: {error.msg}: {(error.text or '').strip()}"
            )
        if errors:
            return
        self._say(f"{names} saved: reloading")
        if any(path.name == "queues.yml" for path in saved):
            self._redeclare()
        else:
            for name in self._names():
                self.supervisord.reload_program(configuration.full_name(name))

    def _redeclare(self) -> None:
        """Start every program anew, with the workers of new queues and without those that went."""
        try:
            declared = queues.load(DEVELOPMENT.project / "config" / "queues.yml")
        except ImproperlyConfigured as error:
            self._say(f"not reloaded: {error}")
            return
        self._configure(self.needed, declared)
        self.supervisord.update()
        for name in self._names():
            self.supervisord.start_program(configuration.full_name(name))

    def _show(self) -> None:
        for name, tail in self.tails.items():
            for text in tail.lines():
                if _READY.search(text):
                    self.ready.add(name)
                if _ENDED.search(text):
                    self.ended.add(name)
                if text and not _NOISE.search(text):
                    self.output.line(configuration.short_name(name), text)

    def _say(self, text: str) -> None:
        self.output.line("dev" if self.with_programs else "services", text)

    def _names(self) -> list[str]:
        return [program.name for program in self.programs]


def free_port(wanted: int) -> int:
    """The wanted port of 127.0.0.1, or the next one that nobody uses."""
    for port in range(wanted, wanted + 100):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ImproperlyConfigured(f"No port from {wanted} to {wanted + 99} is free on 127.0.0.1.")


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


def _ignore_signals() -> None:
    # A second Ctrl-C must not interrupt the stopping, which would leave processes behind.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
