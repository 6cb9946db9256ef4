"""The admin of jobs and queues: what it shows, to whom, and what it changes."""

import html
import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from reliable.jobs import State, browse, changes, durable_task, groups, ids, operations
from reliable.jobs.models import Change, Job, Queue
from reliable.jobs.selection import Selection
from reliable.testing.run_jobs import run_jobs
from reliable.tests import staff
from reliable.tests.staff import somebody

HERE = "reliable.tests.test_jobs_admin"
JOBS = "/admin/reliable_jobs/job/"
QUEUES = "/admin/reliable_jobs/queue/"


def called_by_the_task(number: int) -> None:
    if number % 2:
        raise ValueError(f"{number} is odd")
    raise LookupError(f"{number} is not there")


@durable_task(queue="mail", max_attempts=1, secret=["token"])
def post(number: int, token: str = "") -> None:
    called_by_the_task(number)


@durable_task(queue="default", max_attempts=1)
def parse(text: str) -> int:
    return int(text)


def a_job(state: str = "failed", task: str = f"{HERE}.post", **columns: Any) -> Job:
    return staff.a_job(task, state, **columns)


@pytest.fixture
def operator(db: None) -> Client:
    return somebody("ada", "operate_job", "operate_queue")


@pytest.fixture
def viewer(db: None) -> Client:
    return somebody("grace", "view_job", "view_queue")


def seen(client: Client, address: str, **data: Any) -> str:
    answer = client.get(address, data)
    assert answer.status_code == 200, answer
    return answer.content.decode()


def said(page: str) -> str:
    """The words of a page, as a person reads them."""
    main = page.rsplit('id="content-main"', maxsplit=1)[-1]
    return " ".join(re.sub(r"<[^>]*>", " ", main).split())


def listed(client: Client, **filters: str) -> set[str]:
    return set(re.findall(r"job/([0-9a-f-]{36})/change/", seen(client, JOBS, **filters)))


def state_of(job: Job) -> str:
    return Job.objects.values_list("state", flat=True).get(pk=job.pk)


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
    assert found(state="failed", task=f"{HERE}.post", exception="KeyError", place="") == set()
    assert found(
        state="failed", task=f"{HERE}.post", exception="KeyError", place="orders.tasks.ship"
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
    page = said(seen(viewer, f"{JOBS}{job.pk}/change/"))
    assert "ValueError: 1 is odd" in page
    assert "in called_by_the_task" in page
    assert "number 1" in page
    assert "Attempt failed after" in page
    assert "It enqueued ○ waiting" in page
    assert f"{HERE}.called_by_the_task" in page
    assert "Enqueued by ✕ failed" in said(seen(viewer, f"{JOBS}{child.pk}/change/"))


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
    here = f"{HERE}.called_by_the_task"
    assert {(each.task, each.exception, each.place): each.jobs for each in found} == {
        (post.name, "ValueError", here): 3,
        (post.name, "LookupError", here): 1,
        (parse.name, "ValueError", f"{HERE}.parse"): 1,
        ("gone", "", ""): 1,
    }
    assert [each.last_seen for each in found] == sorted(
        (each.last_seen for each in found), reverse=True
    )
    assert found[0].first_seen <= found[0].last_seen
    page = seen(operator, f"{JOBS}groups/")
    assert "Retry 3…" in said(page)
    for link in re.findall(r'href="[^"?]*job/\?([^"]*)"', page):
        group = seen(operator, f"{JOBS}?{html.unescape(link)}")
        assert len(re.findall(r'name="id"', group)) in {1, 3}


def test_groups_of_a_window_leave_out_what_failed_before(viewer: Client) -> None:
    a_job(exception="KeyError", finished_at=timezone.now() - timedelta(hours=5))
    a_job(exception="ValueError")
    page = said(seen(viewer, f"{JOBS}groups/", since="3h"))
    assert "ValueError" in page
    assert "KeyError" not in page
    assert "KeyError" in said(seen(viewer, f"{JOBS}groups/"))


# --- Changing ------------------------------------------------------------------------------------


def begin(client: Client, operation: str, **data: Any) -> Any:
    return client.post(f"{JOBS}begin/", {"operation": operation, **data}, follow=True)


def test_a_preview_says_how_many_and_changes_nothing(operator: Client) -> None:
    jobs = [a_job(), a_job(), a_job("waiting")]
    page = said(seen(operator, f"{JOBS}preview/", operation="retry"))
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
    group = {"state": "failed", "task": f"{HERE}.post", "exception": "KeyError", "place": "a.b"}
    answer = begin(operator, "retry", why="the warehouse is back", **group)
    assert "3 jobs retried" in said(answer.content.decode())
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
    page = said(seen(operator, f"{JOBS}preview/", operation="discard", id=both))
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
    assert "2 jobs retried of 5 so far" in said(answer.content.decode())
    assert sorted(map(state_of, jobs)) == ["failed"] * 3 + ["waiting"] * 2
    assert "ada began to retry jobs" in said(seen(operator, JOBS))
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
    assert "2 jobs discarded and then it was stopped" in said(
        seen(operator, f"{JOBS}changes/{number}/")
    )
    assert "2 jobs discarded by ada" in said(seen(operator, f"{JOBS}changes/"))


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


# --- Who may what --------------------------------------------------------------------------------


def test_who_may_only_look_sees_no_button_and_is_refused(viewer: Client) -> None:
    job = a_job()
    a_job("waiting")
    change = changes.begin(
        operations.OPERATIONS["retry"], Selection(), by="ada", reason="x", matched=1
    )
    for address in (
        JOBS,
        f"{JOBS}{job.pk}/change/",
        f"{JOBS}groups/",
        f"{JOBS}changes/",
        f"{JOBS}changes/{change.pk}/",
        QUEUES,
    ):
        main = seen(viewer, address).split('id="content-main"')[-1]
        assert not re.search('Retry|Discard…|Cancel…|Pause|method="post"', main), address
        assert "checkbox" not in main, address
    assert viewer.get(f"{JOBS}preview/", {"operation": "retry"}).status_code == 403
    for address, data in (
        (f"{JOBS}begin/", {"operation": "retry"}),
        (f"{JOBS}changes/{change.pk}/continue/", {}),
        (f"{JOBS}changes/{change.pk}/stop/", {}),
        (f"{QUEUES}operate/", {"operation": "pause", "queue": "mail"}),
    ):
        assert viewer.post(address, data).status_code == 403, address
    assert state_of(job) == State.FAILED
    assert not Queue.objects.exists()


def test_who_may_not_look_sees_nothing(db: None) -> None:
    stranger = somebody("mallory")
    job = a_job()
    for address in (JOBS, f"{JOBS}groups/", f"{JOBS}{job.pk}/change/", QUEUES):
        assert stranger.get(address).status_code == 403, address
    outside = Client(headers={"x-forwarded-proto": "https"})
    assert outside.get(JOBS).status_code == 302


def test_operating_jobs_is_not_operating_queues(db: None) -> None:
    client = somebody("ada", "operate_job")
    assert client.get(QUEUES).status_code == 403
    assert client.post(f"{QUEUES}operate/", {"operation": "pause"}).status_code == 403
    assert "Queues" not in said(seen(client, JOBS))


def test_a_change_needs_a_post_with_a_token(operator: Client) -> None:
    job = a_job()
    assert operator.get(f"{JOBS}begin/", {"operation": "retry"}).status_code == 405
    strict = Client(enforce_csrf_checks=True, headers={"x-forwarded-proto": "https"})
    strict.force_login(get_user_model().objects.get(username="ada"))
    assert strict.post(f"{JOBS}begin/", {"operation": "retry"}).status_code == 403
    assert state_of(job) == State.FAILED


def test_there_is_no_add_no_form_and_no_delete(db: None) -> None:
    root = get_user_model().objects.create_superuser("root")
    client = Client(headers={"x-forwarded-proto": "https"})
    client.force_login(root)
    job = a_job()
    assert client.get(f"{JOBS}add/").status_code == 404
    assert client.get(f"{JOBS}{job.pk}/delete/").status_code == 404
    assert client.post(f"{JOBS}{job.pk}/change/").status_code == 405
    assert 'href="/admin/reliable_jobs/job/"' in seen(client, "/admin/")


# --- Queues --------------------------------------------------------------------------------------


def operate(client: Client, operation: str, queue: str = "mail", **data: str) -> str:
    answer = client.post(
        f"{QUEUES}operate/", {"operation": operation, "queue": queue, **data}, follow=True
    )
    return " ".join(str(message) for message in answer.context["messages"])


def test_a_queue_is_paused_with_who_why_and_until_when_and_resumed(operator: Client) -> None:
    assert "is paused until 2" in operate(operator, "pause", why="it is down", end="2h")
    queue = Queue.objects.get()
    assert (queue.paused_by, queue.paused_why) == ("ada", "it is down")
    assert queue.paused_at
    assert queue.paused_until
    assert round((queue.paused_until - queue.paused_at).total_seconds()) == 7200
    assert re.search(r"Paused since .* by ada \(it is down\), until", said(seen(operator, QUEUES)))
    assert "The queue mail is paused" in said(seen(operator, JOBS))
    assert "goes on" in operate(operator, "resume")
    assert not operations.paused()
    assert [line.change_message[:20] for line in LogEntry.objects.order_by("id")] == [
        "The queue mail is pa",
        "The queue mail goes ",
    ]


def test_a_limit_is_set_and_removed(operator: Client) -> None:
    assert "at most 3 run at once" in operate(operator, "limit", limit="3")
    assert Queue.objects.get().limit == 3
    assert "of at most 3" in said(seen(operator, QUEUES))
    assert "no limit" in operate(operator, "limit", limit="")
    assert Queue.objects.get().limit is None


def test_what_a_queue_holds_is_counted(viewer: Client) -> None:
    ago = timezone.now() - timedelta(minutes=5)
    a_job("waiting", run_at=ago)
    a_job("waiting", published_at=ago, run_at=ago)
    a_job("waiting", run_at=timezone.now() + timedelta(hours=1))
    a_job("running")
    page = said(seen(viewer, QUEUES))
    assert re.search(r"2 due in mail oldest 5 min ago running 1 ", page), page


@pytest.mark.parametrize(
    ("operation", "data", "reason"),
    [
        ("pause", {"queue": "mial"}, "not declared; declared: critical, mail"),
        ("pause", {"end": "soon"}, "no duration; write for example 90s"),
        ("pause", {"end": "2001-01-01T00:00"}, "not in the next ten years"),
        ("limit", {"limit": "many"}, "no number; write for example 4"),
        ("limit", {"queue": "mial", "limit": "3"}, "not declared"),
        ("burn", {}, "no such operation"),
    ],
)
def test_bad_input_for_a_queue_is_refused(
    operator: Client, operation: str, data: dict[str, str], reason: str
) -> None:
    assert reason in operate(operator, operation, **data)
    assert not Queue.objects.exists()
    assert not LogEntry.objects.exists()
