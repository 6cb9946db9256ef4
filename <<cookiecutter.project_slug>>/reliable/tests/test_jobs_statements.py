"""A statement that goes past psycopg's cursor is the same to whoever sends it."""

from collections.abc import Iterator

import pytest
from django.db import DataError, OperationalError, connection, transaction
from django.db.transaction import TransactionManagementError

from reliable.jobs import database, durable_task
from reliable.jobs.database import Session, perform
from reliable.jobs.models import Job

QUOTIENT = "SELECT 1 / %(parameter)s::integer"


@durable_task(queue="default")
def nothing(number: int) -> None: ...


@pytest.fixture
def with_a_cursor(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that were sent by psycopg's cursor."""
    sent: list[str] = []
    execute = database.execute

    def noted(statement: str, *arguments: object) -> object:
        sent.append(statement)
        return execute(statement, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "execute", noted)
    return sent


@pytest.fixture
def planned(transactional_db: None, with_a_cursor: list[str]) -> Iterator[list[str]]:
    """A transaction in which PostgreSQL keeps the plan of QUOTIENT."""
    with transaction.atomic():
        perform(QUOTIENT, "1")
        with_a_cursor.clear()
        yield with_a_cursor


def test_a_plan_that_is_kept_needs_no_cursor(planned: list[str]) -> None:
    perform(QUOTIENT, "1")
    assert planned == []


def test_a_call_needs_a_cursor_once_in_a_session(
    transactional_db: None, with_a_cursor: list[str]
) -> None:
    connection.close()
    for _ in range(3):
        with transaction.atomic():
            Job.objects.exists()
            nothing.delay(1)
    assert len(with_a_cursor) == 1
    assert Job.objects.count() == 3


def test_a_call_after_a_rollback_does_not_miss_the_plan_that_went_with_it(
    transactional_db: None,
) -> None:
    for _ in range(3):
        with transaction.atomic():
            Job.objects.exists()
            nothing.delay(1)
            nothing.delay(1)  # with its plan
            transaction.set_rollback(True)
    with transaction.atomic():
        Job.objects.exists()
        nothing.delay(2)
    assert [job.args for job in Job.objects.all()] == [[2]]


def test_what_the_database_refuses_is_djangos_error(planned: list[str]) -> None:
    with pytest.raises(DataError, match="division by zero"), transaction.atomic():
        perform(QUOTIENT, "0")
    assert planned == []
    perform(QUOTIENT, "1")


def test_a_transaction_that_is_broken_takes_no_statement(planned: list[str]) -> None:
    transaction.set_rollback(True)
    with pytest.raises(TransactionManagementError):
        perform(QUOTIENT, "1")


def test_a_connection_that_is_lost_is_djangos_error(planned: list[str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    other = Session()
    other.rows("SELECT pg_terminate_backend(%(pid)s, 5000)", {"pid": pid})
    other.close()
    with pytest.raises(OperationalError):
        perform(QUOTIENT, "1")
    transaction.set_rollback(True)


def test_in_a_pipeline_the_statement_waits_its_turn(planned: list[str]) -> None:
    with connection.connection.pipeline():
        perform(QUOTIENT, "1")
    assert planned == [QUOTIENT]
