"""Statements on Django's connection, without Django's cursor; and sessions beside it.

psycopg's own cursor lets PostgreSQL keep the plan of a statement that comes back a thousand times,
which is half of what a claim costs. Behind a pooler in transaction mode that is not possible: there
`DISABLE_SERVER_SIDE_CURSORS`, which Django asks for anyway, switches it off.
"""

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any, TypeVar

import psycopg
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import generators
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus

# Django's None switches prepared statements off altogether.
_ONLY_WHEN_ASKED = 2**30

T = TypeVar("T")

Row = tuple[Any, ...]
Parameters = Mapping[str, Any]


def execute(
    statement: str, parameters: Parameters, connection: BaseDatabaseWrapper | None = None
) -> "psycopg.Cursor[Any]":
    """Run a statement of `sql` in the transaction of this thread, or in autocommit outside of one.

    Raises Django's database errors, and TransactionManagementError in a transaction that is broken.
    """
    wrapper: Any = connection or connections[DEFAULT_DB_ALIAS]
    wrapper.validate_no_broken_transaction()
    wrapper.close_if_health_check_failed()
    wrapper.ensure_connection()
    with wrapper.wrap_database_errors:
        keeps_plans = not wrapper.settings_dict["DISABLE_SERVER_SIDE_CURSORS"]
        if keeps_plans and wrapper.connection.prepare_threshold is None:
            wrapper.connection.prepare_threshold = _ONLY_WHEN_ASKED
        cursor: psycopg.Cursor[Any] = psycopg.Cursor(wrapper.connection)
        return cursor.execute(_encoded(statement), parameters, prepare=keeps_plans)


# The same bytes each time: psycopg finds what it made of them by their hash.
_encoded = lru_cache(str.encode)


def perform(statement: str, parameter: str) -> None:
    """As `execute`, for a statement with one `%(parameter)s` whose rows nobody needs.

    In a transaction, with a plan that PostgreSQL keeps, it does without psycopg's cursor: that
    takes half as long as PostgreSQL itself, of a statement that each call in a web request pays
    for.
    """
    wrapper: Any = connections[DEFAULT_DB_ALIAS]
    wrapper.validate_no_broken_transaction()
    raw = wrapper.connection
    plan = raw and _plan(raw, statement)
    if not plan:
        execute(statement, {"parameter": parameter})
        return
    with wrapper.wrap_database_errors, raw.lock:
        raw.pgconn.send_query_prepared(plan, [parameter.encode()])
        [answer] = raw.wait(generators.execute(raw.pgconn))
        if answer.status not in {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}:
            raise psycopg.errors.error_from_result(answer)


def _plan(raw: Any, statement: str) -> bytes | None:
    """The name of the statement's plan in this transaction, or None.

    Only psycopg knows it, and has no public way to ask: it makes them, and lets PostgreSQL drop
    all of them at each rollback.
    """
    pgconn = raw.pgconn
    if (
        pgconn.transaction_status != TransactionStatus.INTRANS
        or pgconn.pipeline_status != PipelineStatus.OFF
    ):
        return None
    name: bytes | None = raw._prepared._names.get(_key_of_plan(statement))  # noqa: SLF001
    return name


@cache
def _key_of_plan(statement: str) -> tuple[bytes, tuple[int, ...]]:
    """By this psycopg knows it: a text has no type yet, so that PostgreSQL chooses."""
    return statement.replace("%(parameter)s", "$1").encode(), (0,)


def rows(
    statement: str, parameters: Parameters, connection: BaseDatabaseWrapper | None = None
) -> list[Row]:
    """What the statement returns."""
    return execute(statement, parameters, connection).fetchall()


def reconnecting(statement: Callable[[], list[T]]) -> list[T]:
    """Run it again on a new connection if the kept one is dead: the database was restarted."""
    try:
        return statement()
    except (InterfaceError, OperationalError):
        connection = connections[DEFAULT_DB_ALIAS]
        if connection.in_atomic_block:
            raise
        connection.close()
        return statement()


def pooled() -> bool:
    """Whether a pooler stands before the database: another statement, another session."""
    return bool(connections[DEFAULT_DB_ALIAS].settings_dict["DISABLE_SERVER_SIDE_CURSORS"])


def check() -> None:
    """Let the next statement of this thread find a session that works, outside of a transaction.

    Django looks at it when a task begins, and not again: a body may have outlived its session.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


class Session:
    """A connection of its owner's own, beside that of Django's thread: beats, relays, progress.

    In autocommit; opened when it is first used, and again after an error closed it. `sessions`
    counts, so that what was seen through an earlier one is not trusted.
    """

    def __init__(self, alias: str = DEFAULT_DB_ALIAS) -> None:
        self.alias = alias
        self.wrapper: BaseDatabaseWrapper | None = None
        self.sessions = 0

    @property
    def connection(self) -> BaseDatabaseWrapper:
        if self.wrapper is not None and self.wrapper.connection and self.wrapper.connection.closed:
            self.close()
        if self.wrapper is None:
            self.wrapper = connections.create_connection(self.alias)
        if self.wrapper.connection is None:
            # Not connect(): that raises psycopg's errors, which nobody here expects.
            self.wrapper.ensure_connection()
            self.sessions += 1
        return self.wrapper

    @property
    def raw(self) -> "psycopg.Connection[Any]":
        """Psycopg's connection."""
        connection: psycopg.Connection[Any] = self.connection.connection
        return connection

    def rows(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        return self.execute(statement, parameters).fetchall()

    def execute(
        self, statement: str, parameters: Parameters | None = None
    ) -> "psycopg.Cursor[Any]":
        """Run a statement; any error closes the session, so that the next use opens a new one."""
        try:
            return execute(statement, parameters or {}, self.connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        wrapper, self.wrapper = self.wrapper, None
        if wrapper is not None:
            wrapper.close()


def listening_alias() -> str:
    """The database that a relay listens on: a pooler in transaction mode swallows LISTEN, so a
    project behind one names a direct connection in RELIABLE_LISTEN_DATABASE.
    """
    return getattr(settings, "RELIABLE_LISTEN_DATABASE", DEFAULT_DB_ALIAS)
