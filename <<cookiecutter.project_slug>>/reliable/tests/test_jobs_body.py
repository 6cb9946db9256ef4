"""What a body can ask and say: `current_job()`. And what its last failure leaves."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.utils import translation

from reliable.jobs import NoJob, State, context, current_job, durable_task, runner
from reliable.jobs.database import Session
from reliable.jobs.models import Attempt, Job
from reliable.testing.run_jobs import run_jobs
from reliable.tests.acts import WORKER, act_outside, effects, elsewhere, run_once


@pytest.fixture(autouse=True)
def _no_session_is_left() -> Iterator[None]:
    """Close what `progress` opened: it would keep the test's database from being dropped."""
    yield
    session = context.beside.get()
    if isinstance(session, Session):
        session.close()


# --- current_job(), and atomic=False -------------------------------------------------------------


@durable_task(queue="default", atomic=False, max_attempts=3, backoff=0)
def import_rows(numbers: list[int], stop_after: int) -> int:
    job = current_job()
    done = 0
    for number in numbers:
        if job.checkpoint is not None and number <= job.checkpoint:
            continue
        with job.step(number):
            Group.objects.create(name=f"row {number}")
            done += 1
            if number == stop_after and job.attempt == 1:
                raise OSError("lost")
        assert job.checkpoint == number
    return done


def test_each_step_has_its_effects_once_over_all_attempts(transactional_db: None) -> None:
    handle = import_rows.delay([1, 2, 3, 4], 3)
    assert run_jobs(raise_errors=False) == 2
    assert handle.result == 2  # the rows 3 and 4
    assert Group.objects.count() == 4
    assert Job.objects.get().checkpoint == 4


def test_a_step_of_a_job_that_was_taken_away_is_rolled_back(transactional_db: None) -> None:
    def body() -> None:
        with current_job().step(1):
            Group.objects.create(name="row")
            elsewhere("UPDATE reliable_job SET claim_no = claim_no + 1")

    job = run_once(body, act_outside)
    assert (job.state, job.checkpoint, effects()) == (State.RUNNING, None, 0)


def test_a_step_of_an_atomic_task_is_refused_by_name(transactional_db: None) -> None:
    def body() -> None:
        with current_job().step(1):
            pass

    assert "step() needs atomic=False" in run_once(body).error


def test_progress_is_seen_at_once_and_at_most_once_a_second(transactional_db: None) -> None:
    seen: list[Any] = []

    def body() -> None:
        for number in range(3):
            current_job().progress({"done": number})
            seen.append(Job.objects.get(pk=current_job().id).progress)

    job = run_once(body)
    assert seen == [{"done": 0}] * 3
    assert job.progress == {"done": 0}


def test_a_body_learns_that_it_was_cancelled(transactional_db: None) -> None:
    seen: list[bool] = []

    def body() -> None:
        elsewhere("UPDATE reliable_job SET claim_no = claim_no + 1")
        seen.append(current_job().cancelled)

    run_once(body, act_outside)
    assert seen == [True]


def test_the_idempotency_key_is_the_same_in_each_attempt(transactional_db: None) -> None:
    keys: list[str] = []

    def body() -> None:
        keys.append(current_job().idempotency_key)
        if current_job().attempt == 1:
            raise OSError

    job = run_once(body, act_outside)
    runner.run(job.pk, WORKER)
    assert keys == [str(job.pk)] * 2


@durable_task(queue="default")
def speak() -> str | None:
    return translation.get_language()


def test_a_body_speaks_the_language_of_its_caller(transactional_db: None) -> None:
    with translation.override("de"):
        german = speak.delay()
    usual = speak.delay()
    assert run_jobs() == 2
    assert (german.result, usual.result) == ("de", settings.LANGUAGE_CODE)


def test_outside_of_a_job_there_is_none() -> None:
    with pytest.raises(NoJob):
        current_job()


# --- on_failed, secrets --------------------------------------------------------------------------


@durable_task(queue="default")
def apologise(job_id: str) -> str:
    return f"sorry for {job_id}"


@durable_task(queue="default", max_attempts=1, on_failed=apologise, secret=["token"])
def charge(order_id: int, token: str) -> None:
    raise ValueError(f"{token} of order {order_id} was refused")


def test_on_failed_is_a_job_that_is_there_with_the_failure(
    transactional_db: None, caplog: pytest.LogCaptureFixture
) -> None:
    handle = charge.delay(7, token="tok-123456")
    run_jobs(raise_errors=False)
    assert handle.state == State.FAILED
    assert Job.objects.get(task__endswith="apologise").result == f"sorry for {handle.id}"


@pytest.mark.parametrize("token", ["tok-123456", "737"])
def test_a_secret_argument_is_in_the_row_and_nowhere_else(
    transactional_db: None, caplog: pytest.LogCaptureFixture, token: str
) -> None:
    caplog.set_level(logging.DEBUG)
    charge.delay(8, token=token)
    run_jobs(raise_errors=False)
    attempt = Attempt.objects.get()
    assert attempt.error == "ValueError: [redacted] of order 8 was refused"
    assert f"{token} of order" not in attempt.traceback + caplog.text
    assert Job.objects.get(task__endswith="charge").error == attempt.error
