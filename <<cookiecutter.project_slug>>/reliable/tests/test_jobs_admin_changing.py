"""The admin of jobs: what it changes is what was shown before."""

import re
import uuid
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from reliable.jobs import State, changes, operations
from reliable.jobs.models import Change, Job
from reliable.jobs.selection import Selection
from reliable.tests.pages import JOBS, a_job, post, seen
from reliable.tests.staff import state_of, words


def begin(client: Client, operation: str, **data: Any) -> Any:
    return client.post(f"{JOBS}begin/", {"operation": operation, **data}, follow=True)


def test_a_preview_says_how_many_and_changes_nothing(operator: Client) -> None:
    jobs = [a_job(), a_job(), a_job("waiting")]
    page = words(seen(operator, f"{JOBS}preview/", operation="retry"))
    assert "2 jobs will be retried" in page
    assert "Retry 2 jobs" in page
    assert [state_of(job) for job in jobs] == ["failed", "failed", "waiting"]
    assert not Change.objects.exists()


def test_all_that_match_a_filter_are_changed_and_no_others(operator: Client) -> None:
    wanted = [a_job(exception="KeyError", place="a.b") for _ in range(3)]
    others = [
        a_job(exception="KeyError", place="a.c"),
        a_job(exception="KeyError", place="a.b", task="x"),
    ]
    group = {"state": "failed", "task": post.name, "exception": "KeyError", "place": "a.b"}
    answer = begin(operator, "retry", why="the warehouse is back", **group)
    assert "3 jobs retried" in words(answer.content.decode())
    assert {state_of(job) for job in wanted} == {"waiting"}
    assert {state_of(job) for job in others} == {"failed"}
    line = LogEntry.objects.get()
    assert line.get_change_message().startswith("3 jobs retried (")
    assert "exception KeyError" in line.change_message
    assert line.change_message.endswith("retried by ada: the warehouse is back")
    change = Change.objects.get()
    assert (change.by, change.matched, change.changed) == ("ada", 3, 3)


def test_what_is_ticked_is_changed_and_what_cannot_be_is_named(operator: Client) -> None:
    failed, running, other = a_job(), a_job("running"), a_job()
    both = [str(failed.pk), str(running.pk)]
    page = words(seen(operator, f"{JOBS}preview/", operation="discard", id=both))
    assert "1 job will be discarded" in page
    assert f"Job {running.pk} is running: it cannot be discarded" in page
    begin(operator, "discard", id=both)
    assert [state_of(job) for job in (failed, running, other)] == ["cancelled", "running", "failed"]
    assert Job.objects.get(pk=failed.pk).error == "discarded by ada"


def test_cancel_ends_what_has_not_ended(operator: Client) -> None:
    jobs = [a_job("waiting"), a_job("running"), a_job("held"), a_job("waiting", queue="slow")]
    begin(operator, "cancel", queue="mail")
    assert [state_of(job) for job in jobs] == ["cancelled", "cancelled", "cancelled", "waiting"]


def test_what_fails_after_the_preview_is_left_alone(operator: Client) -> None:
    before = a_job()
    page = seen(operator, f"{JOBS}preview/", operation="retry")
    at = re.findall(r'name="at"\s+value="([^"]*)"', page)[0]
    after = a_job()
    begin(operator, "retry", at=at)
    assert (state_of(before), state_of(after)) == ("waiting", "failed")


def test_a_change_whose_browser_was_closed_says_how_far_it_got_and_goes_on(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "BATCH", 2)
    monkeypatch.setattr(changes.continued, "__defaults__", (0.0,))
    jobs = [a_job() for _ in range(5)]
    answer = begin(operator, "retry")
    assert "2 jobs retried of 5 so far" in words(answer.content.decode())
    assert sorted(map(state_of, jobs)) == ["failed"] * 3 + ["waiting"] * 2
    assert "ada began to retry jobs" in words(seen(operator, JOBS))
    assert LogEntry.objects.get().change_message.startswith("2 jobs retried so far")
    number = Change.objects.get().pk
    for changed in (4, 5, 5):
        operator.post(f"{JOBS}changes/{number}/continue/")
        assert Change.objects.get().changed == changed
    assert Change.objects.get().ended_at
    assert {state_of(job) for job in jobs} == {"waiting"}
    assert LogEntry.objects.get().change_message.startswith("5 jobs retried (")


def test_a_change_can_be_stopped_and_then_leaves_the_rest(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "BATCH", 2)
    monkeypatch.setattr(changes.continued, "__defaults__", (0.0,))
    jobs = [a_job() for _ in range(5)]
    begin(operator, "discard")
    number = Change.objects.get().pk
    operator.post(f"{JOBS}changes/{number}/stop/")
    operator.post(f"{JOBS}changes/{number}/continue/")
    assert sorted(map(state_of, jobs)) == ["cancelled"] * 2 + ["failed"] * 3
    assert "2 jobs discarded and then it was stopped" in words(
        seen(operator, f"{JOBS}changes/{number}/")
    )
    assert "2 jobs discarded by ada" in words(seen(operator, f"{JOBS}changes/"))


def test_a_selection_comes_back_from_its_column_as_it_was() -> None:
    selection = Selection(
        states=(State.FAILED,),
        tasks=("a",),
        since=timezone.now(),
        exception="",
        place="x",
        ids=(uuid.uuid4(),),
    )
    assert Selection.from_json(selection.as_json()) == selection
