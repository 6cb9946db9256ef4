"""A call becomes a row, in the caller's transaction, or is refused by the name of what is wrong."""

import contextlib
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import group
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from reliable.jobs import (
    BadArgument,
    NotHonoured,
    State,
    WaitWouldNeverEnd,
    current_job,
    durable,
    durable_task,
    enqueue_many,
    enqueue_together,
    ids,
    sql,
)
from reliable.jobs.database import Session, execute, rows
from reliable.jobs.durable import DurableTask
from reliable.jobs.models import Job
from reliable.jobs.states import Outcome
from reliable.jobs.transitions import Claim, Ending, give_back
from reliable.testing.run_jobs import run_jobs


@durable_task(queue="default")
def add(left: int, right: int = 0) -> int:
    return left + right


@durable_task(queue="default", unique=True)
def refresh(number: int) -> None: ...


@durable_task(queue="default", unique="until_finished")
def rebuild(number: int) -> None: ...


@durable_task(queue="default", debounce=60, expires=60)
def reindex(number: int) -> None: ...


@durable_task(queue="mail", name="greet", bind=True, max_attempts=3, priority=7, expires=60)
def greet(self: Any, name: str) -> str:
    return f"{self.name} {name}"


MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


# --- Arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({1, 2}, "a set is no JSON"),
        (b"bytes", "a bytes is no JSON"),
        (timezone.now(), "a datetime is no JSON"),
        (float("nan"), "Out of range float values"),
        ("a\0b", r"PostgreSQL cannot hold the character \\0"),
        ({"a\0": 1}, r"PostgreSQL cannot hold the character \\0"),
        (["\ud800"], "half of a surrogate pair"),
        ({1: "one"}, "JSON would turn the key 1 into text"),
        (Group(name="a"), "a Group is a row as it was, not as it will be; pass its primary key"),
    ],
)
def test_an_argument_that_cannot_be_kept_is_refused_by_its_name(value: Any, reason: str) -> None:
    with pytest.raises(BadArgument, match=f"the argument `right` cannot be kept: .*{reason}"):
        add.delay(1, right=value)


def test_an_argument_that_is_too_large_is_refused_with_what_to_do() -> None:
    with pytest.raises(BadArgument, match=r"most of them `right`; the limit is 65,536\. Store"):
        add.delay(1, right="x" * 70_000)  # type: ignore[arg-type] # on purpose


def test_a_project_sets_how_large_arguments_may_be(settings: Any) -> None:
    settings.RELIABLE_JOB_ARGUMENTS_BYTES = 10
    with pytest.raises(BadArgument, match="the limit is 10"):
        add.delay(1, right=10_000_000)


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"wrong": 1})], ids=str
)
def test_arguments_that_do_not_fit_the_task_are_refused(args: Any, kwargs: Any) -> None:
    with pytest.raises(BadArgument, match=r"test_jobs_enqueue\.add: .*argument"):
        add.delay(*args, **kwargs)


def test_arguments_arrive_as_they_were_sent(db: None) -> None:
    sent = {"text": 'ü"\\', "none": None, "list": [1, 2.5, True, {"a": []}], "big": 10**30}
    handle = echo.delay(sent)
    run_jobs()
    assert handle.result == sent


@durable_task(queue="default")
def echo(value: Any) -> Any:
    return value


# --- What a row cannot keep ----------------------------------------------------------------------


@pytest.mark.parametrize("option", ["link", "chord", "serializer", "task_id", "link_error"])
def test_options_that_cannot_be_honoured_are_refused_by_name(option: str) -> None:
    options: Any = {option: 1}
    with pytest.raises(NotHonoured, match=rf"a durable task has no `{option}`\. \w+"):
        add.apply_async((1,), **options)


@pytest.mark.parametrize(
    "use", [lambda: add.s(1), lambda: group([add.si(1)]), lambda: add.map([1]), lambda: add.chunks]
)
def test_celerys_canvas_is_refused_by_name(use: Callable[[], Any]) -> None:
    with pytest.raises(NotHonoured, match="a durable task has no `"):
        use()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_attempts": 0}, "max_attempts cannot be 0"),
        ({"priority": 10}, "priority cannot be 10"),
        ({"debounce": 0}, "debounce cannot be 0"),
        ({"unique": "sometimes"}, "unique cannot be 'sometimes'"),
        ({"time_limit": 0}, "time_limit cannot be 0"),
        ({"batch": 0}, "batch cannot be 0"),
        ({"batch": 51}, "batch cannot be 51"),
        ({"batch": 5, "atomic": False}, "batch=5 needs atomic=True.*Leave one of the two out"),
        ({"secret": ["pasword"]}, "secret= names no argument 'pasword'"),
    ],
)
def test_a_wrong_option_of_the_decorator_is_refused(options: Any, reason: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=reason):

        @durable_task(name="never", **options)
        def never(password: str) -> None: ...


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"queue": "typo"}, "routed to the queue 'typo', which is not declared"),
        ({"queue": "slow", "time_limit": 301}, "may take 301 s in one transaction"),
        ({"queue": "critical", "time_limit": 30}, r"not below the hard limit .* \(30 s\)"),
    ],
)
def test_a_task_that_could_not_run_keeps_every_process_from_starting(
    options: Any, reason: str
) -> None:
    limit, queue = options.get("time_limit"), options["queue"]
    task = DurableTask(lambda: None, "unregistered", queue_name=queue, limit=limit)
    assert re.search(reason, task.problem() or "")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"queue": "typo"}, "the queue 'typo' is not declared"),
        ({"queue": "mail.jobs"}, "the queue 'mail.jobs' is not declared"),
        ({"priority": 10}, "priority=10 is not between 0 and 9"),
        ({"eta": datetime(2026, 1, 1)}, "has no time zone"),  # noqa: DTZ001
    ],
)
def test_a_wrong_option_of_a_call_is_refused(options: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        add.apply_async((1,), **options)


class JobsElsewhere:
    """A database router."""

    def db_for_write(self, model: type[Any], **hints: Any) -> str | None:
        return "other" if model is Job else None


def test_jobs_in_another_database_than_the_data_keep_every_process_from_starting(
    settings: Any,
) -> None:
    assert durable.problems() == []
    settings.DATABASE_ROUTERS = [f"{__name__}.JobsElsewhere"]
    [problem] = durable.problems()
    assert "sends jobs to 'other'; they must be in 'default', with the data" in problem


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

    def noted(statement: str, parameters: Any) -> Any:
        sent.append(statement)
        return execute(statement, parameters)

    monkeypatch.setattr("reliable.jobs.enqueue.execute", noted)
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


# --- Unique --------------------------------------------------------------------------------------


def test_a_unique_call_finds_the_job_that_has_not_started(db: None) -> None:
    first, again, other = refresh.delay(1), refresh.delay(1), refresh.delay(2)
    assert (again.id, again.created, first.created) == (first.id, False, True)
    assert other.id != first.id
    run_jobs()
    assert refresh.delay(1).created
    assert Job.objects.count() == 3


def test_a_call_brings_the_unique_job_forward_and_offers_it_again(db: None) -> None:
    first = refresh.apply_async((1,), countdown=3600)
    Job.objects.update(published_at=timezone.now())
    assert refresh.delay(1) == first
    job = Job.objects.get()
    assert job.published_at is None
    assert run_jobs() == 1


_made_inside: list[bool] = []


@durable_task(queue="default", unique="until_finished")
def asks_while_it_runs(number: int) -> None:
    _made_inside.append(asks_while_it_runs.delay(number).created)


def test_unique_calls_may_have_large_arguments(db: None) -> None:
    first = annotate.delay("x" * 10_000)
    assert annotate.delay("x" * 10_000) == first
    assert annotate.delay("x" * 10_001) != first


@durable_task(queue="default", unique=True)
def annotate(text: str) -> None: ...


def due_in(job: Job) -> int:
    return round((job.run_at - timezone.now()).total_seconds())


def test_each_call_puts_a_debounced_job_off_but_not_for_ever(db: None) -> None:
    first = reindex.delay(1)
    Job.objects.update(run_at=timezone.now() + timedelta(seconds=3), published_at=timezone.now())
    again = reindex.delay(1)
    job = Job.objects.get()
    assert (first.created, again.created, again.id) == (True, False, first.id)
    assert (due_in(job), job.published_at) == (60, None)
    assert job.expires_at is not None
    assert round((job.expires_at - job.run_at).total_seconds()) == 60

    Job.objects.update(created_at=timezone.now() - timedelta(seconds=590))
    reindex.delay(1)
    assert due_in(Job.objects.get()) == 10


def test_a_debounced_job_runs_once_after_its_calls(db: None) -> None:
    for _ in range(3):
        reindex.delay(1)
    reindex.delay(2)
    assert run_jobs() == 0
    assert run_jobs(at=timezone.now() + timedelta(seconds=61)) == 2


def test_a_call_may_say_when_a_debounced_job_runs(db: None) -> None:
    reindex.delay(1)
    reindex.apply_async([1], countdown=0)
    assert run_jobs() == 1


def test_unique_ends_with_the_start_and_until_finished_with_the_end(db: None) -> None:
    _made_inside.clear()
    asks_while_it_runs.delay(1)
    assert run_jobs() == 1
    assert _made_inside == [False]
    assert asks_while_it_runs.delay(1).created


def test_a_retry_of_a_unique_job_does_not_collide_with_the_next(db: None) -> None:
    first, worker = refresh.delay(1), uuid.uuid4()
    claim = {"id": first.id, "worker": worker, "margin": 1, "release": "", "pooled": False}
    rows(sql.CLAIM, claim)
    assert refresh.delay(1).created
    give_back([Claim(first.id, 1)], worker, Ending(Outcome.FAILED, "busy"))
    assert Job.objects.filter(state=State.WAITING).count() == 2


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
