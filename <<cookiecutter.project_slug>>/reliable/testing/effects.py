"""What durable tasks did, in the test's own database: an effect is there once it is committed."""

import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
from django.db import connection

from reliable.testing.system import System
from reliable.testing.waiting import wait_until

_TABLES = """
CREATE TABLE effect (name text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE purchase (name text PRIMARY KEY)
"""


def add(name: str) -> None:
    """An effect of the body that calls this: a row of its transaction."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO effect (name) VALUES (%s)", [name])


def lock(name: str) -> None:
    """Lock a purchase until the body's transaction ends, as a body does before it changes one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM purchase WHERE name = %s FOR UPDATE", [name])


def purchases() -> int:
    """How many purchases this process sees."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM purchase")
        return int(cursor.fetchone()[0])


class Effects:
    """Two tables beside the jobs, and looks at all three that survive a server's restart.

    `effect` is what bodies do, `purchase` what callers commit together with a job.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self.ask(_TABLES)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement, through a connection of its own."""
        return self.system.servers.postgresql.execute(statement, self.system.database)

    def now(self) -> float:
        """The database's clock, in seconds."""
        [(now,)] = self.ask("SELECT extract(epoch FROM clock_timestamp())::float")
        return float(now)

    def buy(self, *names: str) -> None:
        """Rows for bodies to lock."""
        for name in names:
            self.ask(f"INSERT INTO purchase VALUES ('{name}')")  # noqa: S608

    @property
    def names(self) -> list[str]:
        """The effects in the order in which they happened, with repetitions."""
        return [name for (name,) in self.ask("SELECT name FROM effect ORDER BY at")]

    @property
    def purchases(self) -> set[str]:
        return {name for (name,) in self.ask("SELECT name FROM purchase")}

    @property
    def states(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return dict(self.ask("SELECT state, count(*) FROM reliable_job GROUP BY state"))

    def of_job(self, job_id: uuid.UUID, columns: str) -> tuple[Any, ...]:
        [row] = self.ask(f"SELECT {columns} FROM reliable_job WHERE id = '{job_id}'")  # noqa: S608
        return row

    def attempts(self, job_id: uuid.UUID) -> list[tuple[str, bool]]:
        """How the job's attempts without success ended, and whether they were counted."""
        statement = f"""
            SELECT outcome, counted FROM reliable_attempt WHERE job_id = '{job_id}' ORDER BY id
        """  # noqa: S608
        return [(outcome, counted) for outcome, counted in self.ask(statement)]

    def noticed(self, job_id: uuid.UUID, *, since: float) -> float:
        """Seconds from `since`, of the monotonic clock, to an attempt's end without success."""
        return seconds_until(lambda: self.attempts(job_id), "an attempt's end", since=since)

    def count(self, table: str = "effect") -> int:
        [(count,)] = self.ask(f"SELECT count(*) FROM {table}")  # noqa: S608
        return int(count)

    def more_than(self, count: int) -> bool:
        """Whether there are more effects than that."""
        return self.count() > count

    def wait_for_more(
        self, table: str, count: int = 1, *, than: int | None = None, timeout: float = 60.0
    ) -> None:
        """Wait until the table has so many rows more than now, or than `than`.

        Where the work may end by itself, that is to be counted before it begins: all may be done
        by now, and no more would come.
        """
        before = self.count(table) if than is None else than
        wait_until(lambda: self.count(table) >= before + count, "progress", timeout=timeout)

    def wait_for_end(self, *, timeout: float = 60.0) -> None:
        """Wait until no job waits or runs, and the database answers."""
        unfinished = {"held", "waiting", "running"}

        def ended() -> bool:
            with suppress(psycopg.OperationalError):
                return not unfinished & set(self.states)
            return False

        wait_until(ended, "the end of all jobs", timeout=timeout, saw=lambda: self.states)

    def assert_once(self, names: set[str]) -> None:
        """Each of these effects has happened, each once, and nothing else has."""
        counts = Counter(self.names)
        wrong = {
            "lost": names - set(counts),
            "unasked": set(counts) - names,
            "repeated": {name for name, count in counts.items() if count > 1},
        }
        if found := {what: which for what, which in wrong.items() if which}:
            raise AssertionError(f"effects: {found}")


def seconds_until(
    condition: Callable[[], object], what: str, *, since: float, timeout: float = 60.0
) -> float:
    """Seconds from `since`, a moment of the monotonic clock, until the condition was true."""
    wait_until(condition, what, timeout=timeout)
    return time.monotonic() - since
