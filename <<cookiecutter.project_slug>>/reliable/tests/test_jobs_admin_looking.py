"""The admin of jobs: what it finds and shows, and that no secret is among it."""

import html
import re
import uuid
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from reliable.jobs import State, browse, groups, ids
from reliable.jobs.models import Job
from reliable.jobs.selection import Selection
from reliable.testing.run_jobs import run_jobs
from reliable.tests.pages import JOBS, RAISED_BY, a_job, listed, parse, post, seen
from reliable.tests.staff import state_of, words

# --- The list ------------------------------------------------------------------------------------


def test_each_filter_finds_its_jobs_and_no_others(viewer: Client) -> None:
    ago = timezone.now() - timedelta(hours=3)
    jobs = {
        "waiting": a_job("waiting"),
        "running": a_job("running"),
        "held": a_job("held"),
        "failed": a_job(error="ConnectionError: 50% of Warehouse_1 is away"),
        "old": a_job(id=ids.at(ago), finished_at=ago, created_at=ago),
        "slow": a_job(queue="slow"),
        "tagged": a_job("succeeded", tags=["a", "b"]),
        "another": a_job("cancelled", task="another"),
        "grouped": a_job(exception="KeyError", place="orders.tasks.ship"),
        "argument": a_job("expired", kwargs={"number": "abcdefgh Straße"}, args=[]),
    }
    jobs["number"] = a_job("succeeded", args=[4711471])
    jobs["id"] = a_job("succeeded", id=uuid.UUID("abcdef00-0000-7000-8000-000000000000"))

    def found(**filters: str) -> set[str]:
        there = listed(viewer, **filters)
        return {name for name, job in jobs.items() if str(job.pk) in there}

    assert found() == set(jobs)
    assert found(state="failed") == {"failed", "old", "slow", "grouped"}
    for state in ("waiting", "running", "held", "cancelled", "expired"):
        assert len(found(state=state)) == 1, state
    assert found(task="another") == {"another"}
    assert found(queue="slow") == {"slow"}
    assert found(queue="slow", state="waiting") == set()
    assert found(tag="b") == {"tagged"}
    assert found(error="50% of warehouse_") == {"failed"}
    assert found(since="2h", state="failed") == {"failed", "slow", "grouped"}
    assert found(until="2h") == {"old"}
    assert found(state="failed", task=post.name, exception="KeyError", place="") == set()
    assert found(
        state="failed", task=post.name, exception="KeyError", place="orders.tasks.ship"
    ) == {"grouped"}
    assert found(q="straße") == {"argument"}
    assert found(q="straße", state="expired") == {"argument"}
    assert found(q="straße", state="failed") == set()
    assert found(q="4711471") == {"number"}
    assert found(q="abcdef00") == {"id"}
    assert found(q=str(jobs["old"].pk)) == {"old"}


@pytest.mark.parametrize("state", ["", "failed"])
def test_pages_go_from_the_newest_to_the_oldest_and_meet(
    viewer: Client, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(browse, "SIZE", 3)
    moment = timezone.now()
    made = [str(a_job(id=uuid.UUID(int=number), finished_at=moment).pk) for number in range(1, 9)]
    seen_ = []
    before = ""
    while True:
        page = browse.page(
            Selection(states=(State(state),) if state else ()), browse.Search(), before
        )
        seen_ += [str(row.job.pk) for row in page.rows]
        before = page.before
        if not before:
            break
    assert seen_ == made[::-1]


def test_a_page_whose_time_is_up_says_how_far_it_looked_and_the_next_goes_on_from_there(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browse, "BUDGET", 0)
    monkeypatch.setattr(browse, "_FIRST", 2)
    monkeypatch.setattr(browse, "LONGEST", 2)
    wanted = a_job(tags=["rare"])
    for _ in range(5):
        a_job()
    page = seen(viewer, JOBS, tag="rare")
    pages = 1
    while str(wanted.pk) not in page:
        assert "Look further back" in page
        address = re.findall(r'href="\?([^"]*before=[^"]*)"', page)[0].replace("&amp;", "&")
        page = seen(viewer, f"{JOBS}?{address}")
        pages += 1
    assert pages == 3


def test_what_is_typed_wrong_is_refused_with_what_would_do(operator: Client) -> None:
    job = a_job()
    for filters, reason in (
        ({"since": "yesterday"}, "no time; write for example"),
        ({"state": "lost"}, "no state"),
        ({"since": "1h", "until": "2h"}, "Since is not before until"),
        ({"before": "x"}, "begin with the newest"),
        ({"task": "a\0b"}, "is no text"),
    ):
        assert reason in seen(operator, JOBS, **filters).replace("&#x27;", "'")
        assert not listed(operator, **filters)
        operator.get(f"{JOBS}preview/", {"operation": "retry", **filters})
    assert state_of(job) == State.FAILED


# --- One job -------------------------------------------------------------------------------------


def test_a_job_is_shown_with_its_attempts_its_traceback_and_its_family(viewer: Client) -> None:
    post.delay(1)
    run_jobs(raise_errors=False)
    job = Job.objects.get()
    child = a_job("waiting", parent_id=job.pk)
    page = words(seen(viewer, f"{JOBS}{job.pk}/change/"))
    assert "ValueError: 1 is odd" in page
    assert "in called_by_the_task" in page
    assert "number 1" in page
    assert "Attempt failed after" in page
    assert "It enqueued ○ waiting" in page
    assert RAISED_BY in page
    assert "Enqueued by ✕ failed" in words(seen(viewer, f"{JOBS}{child.pk}/change/"))


def test_who_asks_for_a_job_that_is_gone_hears_so(viewer: Client) -> None:
    for number in (uuid.UUID(int=1), "x"):
        answer = viewer.get(f"{JOBS}{number}/change/", follow=True)
        assert "There is no job" in answer.content.decode() or "is no job" in str(answer.content)


# --- Secrets -------------------------------------------------------------------------------------


def test_no_secret_is_shown_or_found_anywhere(operator: Client) -> None:
    post.delay(1, token="hunter2hunter2")
    run_jobs(raise_errors=False)
    job = Job.objects.get()
    job.error = "ValueError: hunter2hunter2 is odd"
    job.progress = {"hunter2hunter2": ["hunter2hunter2"]}
    job.save()
    unknown = a_job(task="gone", args=["hunter2hunter2"], error="hunter2hunter2 is gone")
    for address, data in (
        (JOBS, {}),
        (JOBS, {"state": "failed"}),
        (f"{JOBS}groups/", {}),
        (f"{JOBS}{job.pk}/change/", {}),
        (f"{JOBS}{unknown.pk}/change/", {}),
        (f"{JOBS}preview/", {"operation": "retry"}),
    ):
        page = seen(operator, address, **data)
        assert "hunter2" not in page, address
    assert "[secret]" in seen(operator, JOBS)
    assert "[not shown]" in seen(operator, JOBS)
    assert listed(operator) == {str(job.pk), str(unknown.pk)}
    for state in ("", "failed"):
        assert not listed(operator, q="hunter2", state=state)
        assert not listed(operator, error="hunter2", state=state)


# --- Groups --------------------------------------------------------------------------------------


def test_failed_jobs_are_grouped_by_task_exception_and_place(operator: Client) -> None:
    for number in (1, 2, 3, 5):
        post.delay(number)
    parse.delay("x")
    run_jobs(raise_errors=False)
    a_job(task="gone")
    found, more = groups.failed()
    assert not more
    assert {(each.task, each.exception, each.place): each.jobs for each in found} == {
        (post.name, "ValueError", RAISED_BY): 3,
        (post.name, "LookupError", RAISED_BY): 1,
        (parse.name, "ValueError", parse.name): 1,
        ("gone", "", ""): 1,
    }
    assert [each.last_seen for each in found] == sorted(
        (each.last_seen for each in found), reverse=True
    )
    assert found[0].first_seen <= found[0].last_seen
    page = seen(operator, f"{JOBS}groups/")
    assert "Retry 3…" in words(page)
    for link in re.findall(r'href="[^"?]*job/\?([^"]*)"', page):
        group = seen(operator, f"{JOBS}?{html.unescape(link)}")
        assert len(re.findall(r'name="id"', group)) in {1, 3}


def test_groups_of_a_window_leave_out_what_failed_before(viewer: Client) -> None:
    a_job(exception="KeyError", finished_at=timezone.now() - timedelta(hours=5))
    a_job(exception="ValueError")
    page = words(seen(viewer, f"{JOBS}groups/", since="3h"))
    assert "ValueError" in page
    assert "KeyError" not in page
    assert "KeyError" in words(seen(viewer, f"{JOBS}groups/"))
