"""Whether this process can serve: its database, the migrations of its code, its cache.

Not the queues: a fault of a worker must not take the web processes out of service.
"""

import uuid

from django.core.cache import cache
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

_migrated = False


def problems() -> dict[str, str]:
    """What is not there, with a sentence for each; empty if all is. The text names no secret."""
    found = {}
    try:
        _ask_database()
    except Exception as error:  # noqa: BLE001 - whatever it is, this process cannot serve
        found["database"] = f"The database does not answer ({type(error).__name__})."
    else:
        if missing := _unapplied():
            found["migrations"] = (
                f"{len(missing)} migrations of this release are not applied, {missing[0]} first;"
                " run manage.py migrate."
            )
    try:
        _ask_cache()
    except Exception as error:  # noqa: BLE001
        found["cache"] = f"The cache does not answer ({type(error).__name__})."
    return found


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _unapplied() -> list[str]:
    """Loading all migrations takes long, and what is applied stays so while the process lives."""
    global _migrated  # noqa: PLW0603
    if _migrated:
        return []
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    _migrated = not plan
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def _ask_cache() -> None:
    value = uuid.uuid4().hex
    key = f"reliable.ready.{value}"
    cache.set(key, value, timeout=5)
    if cache.get(key) != value:
        raise LookupError("it does not keep what it is given")
