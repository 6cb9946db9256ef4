"""Body and completion are one transaction: each edge of that."""

import contextlib
import logging
import re
from collections.abc import Callable
from typing import Any, cast

import pytest
from celery.exceptions import Ignore, Reject, Retry
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction
from django.db.utils import InterfaceError, OperationalError

from reliable.jobs import Discard, Snooze, State, current_job, durable_task, runner, sql
from reliable.jobs.models import Attempt
from reliable.tests.acts import WORKER, effects, elsewhere, next_act, raises, run_once

# --- What the body raises ------------------------------------------------------------------------


def test_effects_and_completion_are_committed_together(transactional_db: None) -> None:
    job = run_once(lambda: {"sent": 3})
    assert (job.state, job.result, job.attempt, effects()) == (State.SUCCEEDED, {"sent": 3}, 0, 1)
    assert (job.worker, job.backend, job.deadline_at) == (None, None, None)
    assert not Attempt.objects.exists()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_an_exception_rolls_back_is_counted_and_is_never_passed_to_celery(
    transactional_db: None, error: BaseException
) -> None:
    job = run_once(raises(error))
    assert (job.state, job.attempt, effects()) == (State.WAITING, 1, 0)
    attempt = Attempt.objects.get()
    assert (attempt.outcome, attempt.counted, attempt.claim_no) == ("failed", True, 1)
    assert type(error).__name__ in attempt.error
    assert "in body" in attempt.traceback


def test_after_the_last_attempt_it_has_failed(transactional_db: None) -> None:
    job = run_once(raises(ValueError("no")))
    runner.run(job.pk, WORKER)
    job.refresh_from_db()
    assert (job.state, job.attempt, job.error) == (State.FAILED, 2, "ValueError: no")
    assert job.finished_at


@pytest.mark.parametrize(
    ("error", "counted", "state"),
    [
        (Snooze(0), False, State.WAITING),
        (Discard("gone"), False, State.CANCELLED),
        (Ignore(), False, State.CANCELLED),
        (Reject("no"), False, State.CANCELLED),
        (Retry(when=cast("Any", 3600)), True, State.WAITING),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_requests_of_the_body_and_celerys_own_are_honoured(
    transactional_db: None, error: Exception, counted: bool, state: State
) -> None:
    job = run_once(raises(error))
    assert (job.state, job.attempt, effects()) == (state, int(counted), 0)
    assert Attempt.objects.get().counted is counted
    if isinstance(error, Retry):
        assert not runner.run(job.pk, WORKER)  # in an hour


@durable_task(queue="default", retry_for=(OSError,), give_up_on=(ConnectionError,))
def picky() -> Any:
    return next_act[-1]()


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (OSError(), State.WAITING),
        (ConnectionError(), State.FAILED),  # an OSError too
        (ValueError(), State.FAILED),
        # A database that went away passes, whatever the task knows of.
        (OperationalError(), State.WAITING),
        (InterfaceError(), State.WAITING),
    ],
    ids=repr,
)
def test_only_what_may_pass_by_itself_is_tried_again(
    transactional_db: None, error: Exception, state: State
) -> None:
    assert run_once(raises(error), picky).state == state


def test_a_result_that_cannot_be_kept_is_a_failure_that_says_so(transactional_db: None) -> None:
    job = run_once(object)
    assert (job.state, effects()) == (State.WAITING, 0)
    assert "returned a value that cannot be kept: a object is no JSON" in job.error


# --- The transaction, broken by the body ---------------------------------------------------------


def catches_an_integrity_error() -> None:
    with contextlib.suppress(IntegrityError):
        Group.objects.create(name="effect 1")


def opens_a_durable_block() -> None:
    with transaction.atomic(durable=True):
        pass


def leaves_a_block_open() -> None:
    """As a time limit may that comes while a block is being entered."""
    transaction.atomic().__enter__()
    raise ValueError("too late")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (catches_an_integrity_error, "An error occurred in the current transaction"),
        (lambda: transaction.set_rollback(True), "TransactionManagementError"),
        (connection.close, "TransactionManagementError"),
        (opens_a_durable_block, r"atomic\(durable=True\).* set atomic=False at the task"),
        (leaves_a_block_open, "too late"),
    ],
    ids=["caught error", "set_rollback", "close", "durable", "block left open"],
)
def test_a_body_that_breaks_its_transaction_does_not_succeed(
    transactional_db: None, body: Callable[[], Any], reason: str
) -> None:
    job = run_once(body)
    assert (job.state, job.attempt, effects()) == (State.WAITING, 1, 0)
    assert re.search(reason, job.error), job.error
    # And is nothing to the next one.
    assert run_once(lambda: None).state == State.SUCCEEDED
    assert elsewhere("SELECT count(*) FROM auth_group") == [(1,)]


def end_own_session() -> None:
    """As a restart of the database does, seen from the body."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone() or [0]
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    finally:
        other.close()


def test_a_connection_lost_in_the_body_is_a_failure_and_recorded(transactional_db: None) -> None:
    job = run_once(end_own_session)
    assert (job.state, job.attempt, effects()) == (State.WAITING, 1, 0)
    assert "OperationalError" in job.error


@pytest.mark.parametrize("committed", [True, False])
def test_a_connection_lost_at_commit_is_decided_by_the_fence(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """The client cannot know whether the commit was done: what stands in the row decides."""
    commit = connection._commit  # type: ignore[attr-defined] # noqa: SLF001
    answered: list[bool] = []

    def lose_the_answer() -> None:
        if answered:  # only the body's own
            commit()
            return
        answered.append(True)
        if committed:
            commit()
        connection.close_if_unusable_or_obsolete()
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(connection, "_commit", lose_the_answer)
    job = run_once(lambda: None)
    if committed:
        assert (job.state, job.attempt, effects()) == (State.SUCCEEDED, 0, 1)
    else:
        assert (job.state, job.attempt, effects()) == (State.WAITING, 1, 0)


# --- Hooks ---------------------------------------------------------------------------------------


def test_a_hook_that_fails_leaves_the_job_succeeded_and_a_line(
    transactional_db: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "reliable.jobs")
    job = run_once(lambda: transaction.on_commit(raises(ValueError("hook"))))
    assert (job.state, effects()) == (State.SUCCEEDED, 1)
    assert "job.hook_failed" in caplog.text


# --- Cancelled or taken away meanwhile -----------------------------------------------------------


def test_a_job_cancelled_while_it_runs_has_no_effects(transactional_db: None) -> None:
    def cancelled_meanwhile() -> None:
        elsewhere(sql.CANCEL, {"ids": [current_job().id], "reason": "no"})

    job = run_once(cancelled_meanwhile)
    assert (job.state, job.error, effects()) == (State.CANCELLED, "no", 0)


def test_a_finish_with_an_old_claim_is_refused_and_rolls_back(transactional_db: None) -> None:
    def taken_by_another() -> None:
        elsewhere("UPDATE reliable_job SET claim_no = claim_no + 1")

    job = run_once(taken_by_another)
    assert (job.state, job.claim_no, job.attempt, effects()) == (State.RUNNING, 2, 0, 0)


def test_a_failure_with_an_old_claim_changes_nothing(transactional_db: None) -> None:
    def taken_by_another() -> None:
        elsewhere("UPDATE reliable_job SET claim_no = claim_no + 1")
        raise ValueError("too late")

    job = run_once(taken_by_another)
    assert (job.state, job.claim_no, job.attempt, job.error) == (State.RUNNING, 2, 0, "")
