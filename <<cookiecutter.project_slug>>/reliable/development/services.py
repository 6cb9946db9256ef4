"""The development services of this project: which it needs, and what to say when one is down."""

from dataclasses import dataclass

from django.conf import settings
from django.db import connection
from django.db.utils import OperationalError

from reliable.development.paths import DEVELOPMENT
from reliable.development.servers import (
    BROKER_OPTIONS,
    CACHE_OPTIONS,
    PostgreSQL,
    Valkey,
    embedded_postgresql,
    embedded_valkey,
)


@dataclass(frozen=True)
class Service:
    """A server that supervisor runs. `stop_signal` is the one that ends it at once and cleanly."""

    name: str
    server: PostgreSQL | Valkey
    stop_signal: str


def services() -> list[Service]:
    """Those that no environment variable replaces by a server of the developer's own."""
    needed = []
    if settings.DATABASES["default"].get("OPTIONS", {}).get("host") == str(DEVELOPMENT.sockets):
        needed.append(Service("postgresql", postgresql(), stop_signal="INT"))
    if DEVELOPMENT.broker_url == settings.CELERY_BROKER_URL:
        needed.append(Service("broker", _valkey("broker", BROKER_OPTIONS), stop_signal="TERM"))
    if DEVELOPMENT.cache_url == settings.CACHE_URL:
        needed.append(Service("cache", _valkey("cache", CACHE_OPTIONS), stop_signal="TERM"))
    return needed


def postgresql() -> PostgreSQL:
    return PostgreSQL(
        data=DEVELOPMENT.data / "postgresql",
        sockets=DEVELOPMENT.sockets,
        binaries=embedded_postgresql(),
        # What a client did wrong is the client's to report.
        options={"log_min_messages": "fatal", "max_connections": "200"},
    )


def explain_unreachable() -> str | None:
    """One sentence if the database does not answer, None if it does."""
    try:
        connection.ensure_connection()
    except OperationalError as error:
        options = connection.settings_dict.get("OPTIONS", {})
        if options.get("host") == str(DEVELOPMENT.sockets):
            return (
                "PostgreSQL is not running: start it with `make services` in another terminal,"
                " or everything with `make dev`."
            )
        reason = str(error).strip().splitlines()[0]
        return f"PostgreSQL does not answer ({reason}): is it up, and is DATABASE_URL right?"
    return None


def _valkey(name: str, options: dict[str, str]) -> Valkey:
    return Valkey(
        data=DEVELOPMENT.data / name,
        socket=DEVELOPMENT.sockets / f"{name}.sock",
        binary=embedded_valkey(),
        options={**options, "loglevel": "warning"},
    )
