"""What a result of Django's task API says of its job, and what its signals tell."""

import dataclasses
import re
import uuid
from typing import Any

import pytest
from django.core.management import call_command

from reliable.jobs import State
from reliable.jobs.backend import DurableBackend
from reliable.jobs.handle import JobHandle
from reliable.jobs.models import Attempt, Job
from reliable.jobs.states import Outcome
from reliable.jobs.taskapi import (
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from reliable.testing.run_jobs import run_jobs
from reliable.tests import api_tasks
from reliable.tests.api_tasks import ended, later

pytestmark = pytest.mark.usefixtures("django_tasks")


def test_a_failure_has_its_exception_and_traceback_for_each_attempt(db: None) -> None:
    result = ended(api_tasks.fail.enqueue("nothing here"))
    assert (result.status, result.is_finished, result.attempts) == ("FAILED", True, 5)
    with pytest.raises(ValueError, match="failed"):
        _ = result.return_value
    assert len(result.errors) == len(result.worker_ids) == 5
    for error in result.errors:
        assert error.exception_class is LookupError
        assert error.traceback.startswith("Traceback (most recent call last):")
        assert error.traceback.endswith("LookupError: nothing here\n")


def test_an_exception_with_a_cause_and_two_lines_is_the_last_one(db: None) -> None:
    result = ended(api_tasks.fail_with_a_cause.using(backend="once").enqueue())
    [error] = result.errors
    assert error.exception_class is api_tasks.Strange
    assert "KeyError: 'THE_FIRST'" in error.traceback


def test_an_exit_fails(db: None) -> None:
    [error] = ended(api_tasks.leave.using(backend="once").enqueue()).errors
    assert error.exception_class is SystemExit


def test_a_value_that_cannot_be_kept_fails(db: None) -> None:
    [error] = ended(api_tasks.return_an_object.using(backend="once").enqueue()).errors
    assert error.exception_class is TypeError
    assert "cannot be kept" in error.traceback


def test_it_gives_its_context_to_the_body_at_each_attempt(db: None) -> None:
    result = api_tasks.fail_once.enqueue("word")
    ended(result)
    assert result.return_value == ["word", 2, result.id, result.id]
    assert (result.attempts, len(result.errors)) == (2, 1)
    moments = [result.started_at, result.last_attempted_at, result.finished_at]
    assert moments == sorted(filter(None, moments))
    assert result.started_at != result.last_attempted_at


def test_while_it_waits_for_its_next_attempt_it_is_ready_again(db: None) -> None:
    result = api_tasks.fail.enqueue("not yet")
    run_jobs(raise_errors=False)
    Job.objects.filter(attempt=1).update(state=State.WAITING)
    result.refresh()
    assert result.status == TaskResultStatus.READY
    assert result.errors[0].exception_class is LookupError


@pytest.mark.parametrize(
    ("outcome", "path"),
    [
        (Outcome.TIMED_OUT, "billiard.exceptions.TimeLimitExceeded"),
        (Outcome.WORKER_LOST, "billiard.exceptions.WorkerLostError"),
        (Outcome.NOT_RECORDED, "reliable.jobs.handle.JobFailed"),
    ],
)
def test_an_end_without_an_exception_has_one_too(db: None, outcome: str, path: str) -> None:
    result = api_tasks.add.enqueue(1)
    Attempt.objects.create(job_id=result.id, claim_no=1, outcome=outcome, counted=True, error="So.")
    result.refresh()
    [error] = result.errors
    assert (error.exception_class_path, error.traceback) == (path, "So.\n")
    assert issubclass(error.exception_class, Exception)


def test_a_cancelled_job_has_failed_and_says_why(db: None) -> None:
    result = api_tasks.add.enqueue(1)
    JobHandle(uuid.UUID(result.id)).cancel("nobody wants it")
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 0)
    assert result.errors[0].traceback == "cancelled: nobody wants it\n"


@pytest.mark.parametrize("result_id", ["123", "", str(uuid.UUID(int=0))])
def test_there_is_no_result_of_an_unknown_id(db: None, result_id: str) -> None:
    with pytest.raises(TaskResultDoesNotExist):
        task_backends["default"].get_result(result_id)


def test_a_result_is_of_its_task_and_of_its_backend(db: None) -> None:
    result = api_tasks.add.enqueue(1)
    with pytest.raises(Exception, match="does not match"):
        api_tasks.fail.get_result(result.id)
    with pytest.raises(TaskResultDoesNotExist):
        task_backends["once"].get_result(result.id)


def test_a_job_of_a_durable_task_is_no_result(db: None) -> None:
    from reliable.testing.jobs import note

    handle = note.delay("a")
    with pytest.raises(TaskResultDoesNotExist):
        task_backends["default"].get_result(str(handle.id))


def test_a_result_can_be_turned_into_a_dictionary(db: None) -> None:
    result = api_tasks.add.enqueue(1)
    before = dataclasses.asdict(result)
    result.refresh()
    assert dataclasses.asdict(result) == before


def test_the_command_shows_the_job_with_its_arguments(
    db: None, capsys: pytest.CaptureFixture[str]
) -> None:
    result = api_tasks.add.enqueue(4321)
    call_command("jobs", "show", result.id)
    assert re.search(r"first: +4321", capsys.readouterr().out)


# --- Signals -------------------------------------------------------------------------------------


def test_signals_tell_of_each_enqueue_start_and_end(db: None) -> None:
    seen: list[tuple[str, str, str]] = []
    names = {task_enqueued: "enqueued", task_started: "started", task_finished: "finished"}

    def note(sender: Any, task_result: Any, signal: Any, **_: Any) -> None:
        assert sender is DurableBackend
        seen.append((names[signal], task_result.task.name, str(task_result.status)))

    from reliable.jobs import backend

    backend.connect()  # as a project does at its start whose settings name it
    for signal in names:
        signal.connect(note)
    try:
        api_tasks.add.enqueue(1)
        later()
        api_tasks.fail.using(backend="once").enqueue("no")
        later()
    finally:
        for signal in names:
            signal.disconnect(note)
    assert seen == [
        ("enqueued", "add", "READY"),
        ("started", "add", "RUNNING"),
        ("finished", "add", "SUCCESSFUL"),
        ("enqueued", "fail", "READY"),
        ("started", "fail", "RUNNING"),
        ("finished", "fail", "FAILED"),
    ]
