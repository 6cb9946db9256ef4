"""A call becomes a row, in the caller's transaction: one or many, and its handle."""

import contextlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from reliable.jobs import (
    BadArgument,
    State,
    WaitWouldNeverEnd,
    current_job,
    durable_task,
    enqueue_many,
    enqueue_together,
    ids,
    sql,
)
from reliable.jobs.database import Session, perform
from reliable.jobs.models import Job
from reliable.testing.run_jobs import run_jobs


@durable_task(queue="default")
def add(left: int, right: int = 0) -> int:
    return left + right


@durable_task(queue="mail", name="greet", bind=True, max_attempts=3, priority=7, expires=60)
def greet(self: Any, name: str) -> str:
    return f"{self.name} {name}"


MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


# --- The row -------------------------------------------------------------------------------------


def test_a_job_stands_and_falls_with_its_callers_transaction(transactional_db: None) -> None:
    with transaction.atomic():
        add.delay(1)
        transaction.set_rollback(True)
    assert not Job.objects.exists()
    with transaction.atomic():
        handle = add.delay(1)
    assert Job.objects.get().pk == handle.id


def test_the_row_has_what_task_and_call_say(db: None, settings: Any) -> None:
    settings.RELEASE = "r7"
    before = timezone.now()
    handle = greet.apply_async(("ada",), countdown=100, expires=30)
    job = Job.objects.get(pk=handle.id)
    assert (job.task, job.queue, job.args, job.kwargs) == ("greet", "mail", ["ada"], {})
    assert (job.max_attempts, job.priority, job.state) == (3, 7, State.WAITING)
    assert (job.release_enqueued, job.time_limit) == ("r7", 50)
    assert 99 < (job.run_at - before).total_seconds() < 110
    assert job.expires_at
    assert 29 < (job.expires_at - job.run_at).total_seconds() < 31
    assert uuid.UUID(str(job.pk)).version == 7


@pytest.mark.parametrize(
    "expires", [60, timedelta(minutes=1), timezone.now() + timedelta(minutes=1)], ids=type
)
def test_an_expired_job_does_not_start(db: None, expires: Any) -> None:
    handle = add.apply_async((1,), expires=expires)
    assert run_jobs(at=timezone.now() + timedelta(minutes=2)) == 0
    assert handle.state == State.EXPIRED


def test_a_job_of_the_future_waits_for_its_time(db: None) -> None:
    handle = add.apply_async((1, 2), eta=timezone.now() + timedelta(days=1))
    assert run_jobs() == 0
    assert run_jobs(at=timezone.now() + timedelta(days=2)) == 1
    assert handle.result == 3


def test_the_most_urgent_runs_first_then_the_oldest(db: None) -> None:
    order = [add.apply_async((n,), priority=p) for n, p in enumerate((0, 5, 9, 5))]
    run_jobs()
    ended = Job.objects.order_by("finished_at").values_list("id", flat=True)
    assert list(ended) == [order[index].id for index in (2, 1, 3, 0)]


def test_a_bound_task_gets_itself_and_a_plain_call_runs_the_body(db: None) -> None:
    assert greet("ada") == "greet ada"
    assert greet.delay("ada").state == State.WAITING
    run_jobs()
    assert Job.objects.get().result == "greet ada"


def test_ids_are_ordered_by_the_time_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([1_700_000_000_000_000_000, 1_700_000_000_001_000_000])
    monkeypatch.setattr("time.time_ns", lambda: next(moments))
    first, second = ids.new(), ids.new()
    assert first < second
    assert (first.version, first.variant) == (7, uuid.RFC_4122)


# --- Many ----------------------------------------------------------------------------------------


@pytest.fixture
def statements(db: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that enqueueing sends."""
    sent: list[str] = []

    def noted(statement: str, parameter: str) -> None:
        sent.append(statement)
        perform(statement, parameter)

    monkeypatch.setattr("reliable.jobs.enqueue.perform", noted)
    return sent


def test_many_jobs_are_one_statement(statements: list[str]) -> None:
    handles = enqueue_many(add, [(1, 2), (3, 4), (5,)], priority=2)
    assert [Job.objects.get(pk=handle.id).args for handle in handles] == [[1, 2], [3, 4], [5]]
    assert set(Job.objects.values_list("priority", flat=True)) == {2}
    assert len(statements) == 1


def test_what_is_enqueued_together_is_one_statement_at_the_end_of_the_block(
    statements: list[str],
) -> None:
    with enqueue_together():
        add.delay(1)
        with enqueue_together():
            greet.delay("ada")
        assert not Job.objects.exists()
    assert Job.objects.count() == 2
    assert len(statements) == 1


def test_many_jobs_call_the_relays_of_each_queue_once(transactional_db: None) -> None:
    ear = Session()
    ear.execute(f"LISTEN {sql.CHANNEL}")
    with transaction.atomic(), enqueue_together():
        enqueue_many(add, [(number,) for number in range(100)])
        greet.delay("Ada")
    ear.execute(f"NOTIFY {sql.CHANNEL}, 'the end'")
    heard = [notify.payload for notify in ear.raw.notifies(timeout=5, stop_after=3)]
    ear.close()
    assert sorted(heard) == ["default", "mail", "the end"]


def test_an_exception_or_a_wrong_argument_among_many_inserts_none(db: None) -> None:
    with pytest.raises(BadArgument):
        enqueue_many(add, [(1,), ({1},)])
    with contextlib.suppress(RuntimeError), enqueue_together():
        add.delay(1)
        raise RuntimeError
    assert not Job.objects.exists()


# --- Impossible states ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"state": "nonsense"},
        {"state": "running"},
        {"state": "succeeded"},
        {"finished_at": MOMENT},
        {"worker": uuid.UUID(int=1)},
        {"state": "held", "published_at": MOMENT},
        {"result": 1},
        {"attempt": 6},
        {"attempt": 1},
        {"priority": 10},
        {"state": "failed", "finished_at": MOMENT, "unique_key": "k"},
    ],
    ids=str,
)
def test_the_database_refuses_an_impossible_state(db: None, change: Any) -> None:
    add.delay(1)
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.update(**change)


# --- The handle ----------------------------------------------------------------------------------


def test_wait_is_refused_in_a_transaction_and_in_a_task(db: None) -> None:
    handle = add.delay(1)
    with pytest.raises(WaitWouldNeverEnd, match="in a transaction: before its commit"):
        handle.wait(1)
    waits.delay()
    with pytest.raises(WaitWouldNeverEnd, match="in a task occupies the slot"):
        run_jobs()


@durable_task(queue="default", max_attempts=1, atomic=False)
def waits() -> None:
    add.delay(1).wait(1)


def test_wait_returns_the_result_or_says_that_it_did_not_come(transactional_db: None) -> None:
    handle = add.delay(1, 2)
    with pytest.raises(TimeoutError, match=r"is waiting after 0\.05 s"):
        handle.wait(0.05)
    run_jobs()
    assert handle.wait(1) == 3


def test_a_waiting_job_is_cancelled_once_and_can_be_given_its_attempts_again(db: None) -> None:
    handle = add.delay(1)
    assert (handle.cancel(), handle.cancel()) == (True, False)
    assert (handle.state, run_jobs()) == (State.CANCELLED, 0)
    assert (handle.retry(), handle.retry()) == (True, False)
    assert (run_jobs(), handle.state) == (1, State.SUCCEEDED)


# --- Children ------------------------------------------------------------------------------------


@durable_task(queue="default", atomic=False, max_attempts=3, backoff=0)
def twice_a_parent() -> None:
    """Fails after it has made two equal children and another one."""
    add.delay(1)
    add.delay(1)
    add.delay(2)
    if current_job().attempt == 1:
        raise OSError("after its children")


@durable_task(queue="default", max_attempts=3, backoff=0)
def an_atomic_parent() -> None:
    add.delay(1)
    if current_job().attempt == 1:
        raise OSError("after its child")


@pytest.mark.parametrize(("parent", "children"), [(twice_a_parent, 3), (an_atomic_parent, 1)])
def test_a_parent_that_runs_again_makes_its_children_once(
    db: None, parent: Any, children: int
) -> None:
    handle = parent.delay()
    run_jobs(raise_errors=False)
    assert handle.state == State.SUCCEEDED
    assert Job.objects.filter(parent_id=handle.id).count() == children
    assert Job.objects.filter(state=State.SUCCEEDED).count() == children + 1


def test_enqueueing_opens_no_connection_to_the_broker(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kombu.Connection.connect", lambda *_: pytest.fail("the broker"))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection"))
    add.delay(1)
    assert connection.in_atomic_block
    assert Job.objects.count() == 1
