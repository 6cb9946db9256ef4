"""`manage.py jobs retry|discard|cancel`: operators change exactly what they named."""

import re
import uuid
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from reliable.jobs import State, operations, transitions
from reliable.jobs.models import Queue
from reliable.jobs.states import FINISHED
from reliable.tests.commands import a_job, jobs, machine, post
from reliable.tests.staff import state_of


def test_retry_gives_failed_jobs_all_their_attempts_again(db: None) -> None:
    job = a_job("failed", attempt=5, claim_no=5)
    other = a_job("failed", queue="slow")
    assert jobs("retry", "--queue", "mail") == "1 job retried.\n"
    job.refresh_from_db()
    assert (job.state, job.attempt) == (State.WAITING, 0)
    assert state_of(other) == State.FAILED


def test_what_was_discarded_comes_back_only_when_it_is_asked_for(db: None) -> None:
    job = a_job("failed")
    jobs("discard", "--all", "--why", "a test order")
    job.refresh_from_db()
    assert job.state == State.CANCELLED
    assert re.fullmatch(r"discarded by .+: a test order", job.error)
    jobs("retry", "--task", post.name)
    assert state_of(job) == State.CANCELLED
    jobs("retry", "--id", str(job.pk))
    assert state_of(job) == State.WAITING


def test_cancel_ends_what_has_not_ended_and_nothing_else(db: None) -> None:
    unfinished = [a_job(state) for state in ("held", "waiting", "running")]
    finished = [a_job(state) for state in FINISHED]
    assert jobs("cancel", "--all") == "3 jobs cancelled.\n"
    assert {state_of(job) for job in unfinished} == {"cancelled"}
    assert [state_of(job) for job in finished] == list(FINISHED)


def test_an_id_that_cannot_be_changed_is_named_with_its_state(db: None) -> None:
    failed, running = a_job("failed"), a_job("running")
    text = jobs("retry", "--id", str(failed.pk), str(running.pk))
    assert text == f"Job {running.pk} is running: it cannot be retried.\n1 job retried.\n"


@pytest.mark.parametrize("operation", ["retry", "discard", "cancel"])
def test_a_dry_run_says_how_many_shows_ten_and_changes_nothing(db: None, operation: str) -> None:
    state = "waiting" if operation == "cancel" else "failed"
    made = [a_job(state) for _ in range(12)]
    text = jobs(operation, "--all", "--dry-run")
    assert re.search(r"12 jobs would be \w+\. Nothing was changed\.", text)
    assert sum(str(job.pk) in text for job in made) == 10
    assert {state_of(job) for job in made} == {state}
    assert machine(operation, "--all", "--dry-run")["matched"] == 12


def test_many_jobs_are_changed_in_batches_with_progress(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "BATCH", 2)
    monkeypatch.setattr(operations, "_SCAN", 4)
    monkeypatch.setattr("reliable.jobs.management.commands.jobs._PROGRESS_AFTER", 0)
    made = [a_job("failed") for _ in range(9)]
    out, progress = StringIO(), StringIO()
    call_command("jobs", "retry", "--all", stdout=out, stderr=progress)
    assert out.getvalue() == "9 jobs retried.\n"
    assert "of 9 ..." in progress.getvalue()
    assert {state_of(job) for job in made} == {"waiting"}


def test_a_job_that_fails_again_at_once_is_retried_once(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "BATCH", 2)
    monkeypatch.setattr(operations, "_SCAN", 4)
    made = [a_job("failed").pk for _ in range(9)]
    retried: list[uuid.UUID] = []

    def fails_again(ids_: Any, reason: str) -> list[uuid.UUID]:
        retried.extend(ids_)
        return list(ids_)

    retry = operations.OPERATIONS["retry"]
    changed = type(retry)(**{**vars(retry), "act": fails_again})
    monkeypatch.setitem(operations.OPERATIONS, "retry", changed)
    assert jobs("retry", "--state", "failed") == "9 jobs retried.\n"
    assert retried == sorted(made)


def test_a_stop_says_how_many_were_changed_by_then(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "BATCH", 1)
    made = [a_job("failed") for _ in range(3)]
    calls = iter(range(2))

    def stopped_at_the_second(ids_: Any, reason: str) -> list[uuid.UUID]:
        if next(calls):
            raise KeyboardInterrupt
        return transitions.discard(ids_, reason)

    discard = operations.OPERATIONS["discard"]
    changed = type(discard)(**{**vars(discard), "act": stopped_at_the_second})
    monkeypatch.setitem(operations.OPERATIONS, "discard", changed)
    with pytest.raises(CommandError, match="1 job discarded of 3, then: stopped") as caught:
        jobs("discard", "--all")
    assert caught.value.returncode == 130
    assert sorted(map(state_of, made)) == ["cancelled", "failed", "failed"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["retry"], r"takes filters, or --all, which is every job that is failed: name one"),
        (["retry", "--all", "--queue", "mail"], "not both"),
        (["retry", "--state", "lost"], "no such state; there are held, waiting, running, succeede"),
        (["retry", "--state", "running"], "retry takes jobs that are failed, cancelled, expired"),
        (["discard", "--state", "expired"], "discard takes jobs that are failed"),
        (["cancel", "--queue", "mial"], "not declared and has no job; declared: critical, mail"),
        (["retry", "--task", f"{post.name}x"], rf"near it is {post.name}"),
        (["retry", "--id", "12"], "'12' is no job's id; one looks like 0199"),
        (["retry", "--id", str(uuid.UUID(int=1))], "There is no job 00000000"),
        (["retry", "--since", "yesterday"], r"no time; write for example \d{4}-.* or 2h"),
        (["retry", "--since", "1h", "--until", "2h"], "--since is not before --until"),
        (["retry", "--error", ""], "--error '' is no text"),
        (["discard", "--all", "--why", "\udcff"], "is no text"),
        (["stats", "--since", "yesterday"], r"no time; write for example"),
        (["list", "--limit", "0"], "write a number from 1 on"),
        (["list", "--before", "x"], "'x' is no job's id"),
        (["show", str(uuid.UUID(int=1))], "rolled back, or it was purged"),
        (["pause", "mial"], "'mial' is not declared; declared: critical, mail"),
        (["resume", "mial"], "'mial' is not declared; declared: critical, mail"),
        (["limit", "mial", "3"], "'mial' is not declared; declared: critical, mail"),
        (
            ["limit", "mail", "0"],
            "limit of 0 jobs is not possible: write a number from 1 to 10,000",
        ),
        (["limit", "mail", "10001"], "limit of 10,001 jobs is not possible"),
        (["limit", "mail", "-3"], "'-3' is no limit; write a number of jobs, for example 3"),
        (["limit", "mail", "few"], "'few' is no limit; write a number of jobs, for example 3"),
        (["pause", "mail", "--for", "soon"], "no duration; write for example 90s"),
        (["pause", "mail", "--until", "2001-01-01T00:00"], "not in the next ten years"),
    ],
    ids=lambda value: (
        " ".join(value).encode("ascii", "replace").decode() if isinstance(value, list) else ""
    ),
)
def test_bad_input_is_refused_before_anything_is_changed(
    db: None, arguments: list[str], reason: str
) -> None:
    job = a_job("failed")
    with pytest.raises(CommandError, match=reason) as caught:
        jobs(*arguments)
    assert caught.value.returncode == 2
    assert state_of(job) == State.FAILED
    assert not Queue.objects.exists()
