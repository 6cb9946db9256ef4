"""A call of a unique task is the job that waits for the same: which one, and what that sees."""

import threading
import uuid
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from reliable.jobs import JobHandle, State, durable_task, sql
from reliable.jobs.database import rows
from reliable.jobs.models import Job
from reliable.jobs.states import Outcome
from reliable.jobs.transitions import Claim, Ending, give_back
from reliable.testing.run_jobs import run_jobs
from reliable.testing.waiting import wait_until
from reliable.tests.locks import somebody_waits


@durable_task(queue="default", unique=True)
def refresh(number: int) -> None: ...


@durable_task(queue="default", debounce=60, expires=60)
def reindex(number: int) -> None: ...


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


def test_each_call_puts_a_debounced_job_off_but_not_for_ever(db: None) -> None:
    first = reindex.delay(1)
    Job.objects.update(run_at=timezone.now() + timedelta(seconds=3), published_at=timezone.now())
    before = timezone.now()
    again = reindex.delay(1)
    after = timezone.now()
    job = Job.objects.get()
    assert (first.created, again.created, again.id) == (True, False, first.id)
    assert before <= job.run_at - timedelta(seconds=60) <= after
    assert job.published_at is None
    assert job.expires_at is not None
    assert round((job.expires_at - job.run_at).total_seconds()) == 60

    Job.objects.update(created_at=timezone.now() - timedelta(seconds=590))
    reindex.delay(1)
    job = Job.objects.get()
    assert job.run_at - job.created_at == timedelta(seconds=600)


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


def test_a_call_that_meets_the_start_of_its_job_is_a_job_of_its_own(
    transactional_db: None,
) -> None:
    """The one that starts may not see what the caller writes."""
    first, made = refresh.delay(1), list[JobHandle]()
    claim: Any = {
        "id": first.id,
        "worker": uuid.uuid4(),
        "margin": 1,
        "release": "",
        "pooled": False,
    }

    def call() -> None:
        made.append(refresh.delay(1))
        connection.close()

    worker = connection.copy()
    try:
        with worker.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(sql.CLAIM, claim)
            caller = threading.Thread(target=call)
            caller.start()
            wait_until(somebody_waits, "the call")
            assert not made
            cursor.execute("COMMIT")
            caller.join()
    finally:
        worker.close()
    [second] = made
    assert (second.created, second.id != first.id) == (True, True)
    assert (first.state, second.state) == (State.RUNNING, State.WAITING)
