"""PostgreSQL and two Valkey instances for one test run, or for one test that harms them."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from reliable.development.servers import (
    BROKER_OPTIONS,
    CACHE_OPTIONS,
    PostgreSQL,
    Valkey,
    embedded_postgresql,
    embedded_valkey,
    system_postgresql,
    system_valkey,
)
from reliable.testing.processes import MARKER, Process
from reliable.testing.waiting import wait_until

# Fast, and as safe as a test needs: a killed server keeps what it committed, a machine that loses
# power would not. (Without synchronous_commit a killed server loses its last 0.2 s.)
POSTGRESQL_OPTIONS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "log_min_messages": "fatal",
}

# One for each test that runs processes; Valkey's default is 16.
BROKER_DATABASES = 1000


class Servers:
    """The servers below one directory, as processes that can be killed, frozen and restarted.

    postgresql: settings on top of POSTGRESQL_OPTIONS, for who must not have them that fast:
    {"fsync": "on"}.
    """

    def __init__(
        self,
        directory: Path,
        *,
        marker: str,
        system: bool = False,
        postgresql: Mapping[str, str] | None = None,
    ) -> None:
        binaries = system_postgresql() if system else embedded_postgresql()
        valkey = system_valkey() if system else embedded_valkey()
        self.directory = directory
        self.from_system = system
        self.postgresql = PostgreSQL(
            data=directory / "postgresql",
            sockets=directory,
            binaries=binaries,
            options={**POSTGRESQL_OPTIONS, **(postgresql or {})},
        )
        self.broker = Valkey(
            data=directory / "broker",
            socket=directory / "broker.sock",
            binary=valkey,
            options={**BROKER_OPTIONS, "databases": str(BROKER_DATABASES)},
        )
        self.cache = Valkey(
            data=directory / "cache",
            socket=directory / "cache.sock",
            binary=valkey,
            options=CACHE_OPTIONS,
        )
        environment = {**os.environ, MARKER: marker}
        self.processes = {
            name: Process(
                name,
                server.command,
                environment=environment,
                directory=directory,
                log=directory / f"{name}.log",
            )
            for name, server in self._servers.items()
        }

    @property
    def _servers(self) -> dict[str, PostgreSQL | Valkey]:
        return {"postgresql": self.postgresql, "broker": self.broker, "cache": self.cache}

    def start(self) -> None:
        """Start all three, and wait until they answer."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        for name, server in self._servers.items():
            server.prepare()
            self.processes[name].start()
        for name in self.processes:
            self.wait_for(name)

    def wait_for(self, name: str) -> None:
        """Wait until a server answers, for example after a restart."""
        server = self._servers[name]
        process = self.processes[name]
        wait_until(server.answers, f"an answer of {name}", saw=lambda: process.output[-2000:])

    def stop(self) -> None:
        """End all three; PostgreSQL by INT, since a killed one leaves its shared memory behind."""
        postgresql = self.processes["postgresql"]
        if postgresql.alive:
            postgresql.thaw()
            os.kill(postgresql.pid, signal.SIGINT)
            with contextlib.suppress(AssertionError):  # then it is killed below
                postgresql.wait(timeout=10)
        for process in self.processes.values():
            process.end()
        shutil.rmtree(self.directory, ignore_errors=True)

    def clone_database(self, template: str, name: str) -> None:
        """Create a database as a copy of another; nobody may be connected to that one."""
        self.postgresql.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        self.postgresql.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def copy_database(self, source: "Servers", template: str, name: str) -> None:
        """Create a database as a copy of one of another server."""
        self.postgresql.create_database(name)
        binaries = source.postgresql.binaries
        dump = subprocess.run(
            [str(binaries / "pg_dump"), source.postgresql.url(template)],
            check=True,
            capture_output=True,
        )
        command = [
            str(binaries / "psql"),
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            self.postgresql.url(name),
        ]
        subprocess.run(command, input=dump.stdout, check=True, stdout=subprocess.DEVNULL)
