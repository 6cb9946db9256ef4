"""A connection beside that of Django's thread, so that no transaction of others is waited for."""

from collections.abc import Mapping
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

Row = tuple[Any, ...]


class Session:
    """In autocommit; opened when it is first used, and again after an error closed it."""

    def __init__(self) -> None:
        self._wrapper: BaseDatabaseWrapper | None = None

    def rows(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Run a statement and return its rows, if it has any. Any error closes the session."""
        if self._wrapper is None:
            self._wrapper = connections.create_connection(DEFAULT_DB_ALIAS)
        try:
            return _rows(self._wrapper, statement, parameters)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        wrapper, self._wrapper = self._wrapper, None
        if wrapper is not None:
            wrapper.close()


def rows(statement: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
    """The same on the connection of this thread."""
    return _rows(connection, statement, parameters)


def _rows(
    wrapper: BaseDatabaseWrapper, statement: str, parameters: Mapping[str, Any] | None
) -> list[Row]:
    with wrapper.cursor() as cursor:
        cursor.execute(statement, dict(parameters or {}))
        return cursor.fetchall() if cursor.description else []
