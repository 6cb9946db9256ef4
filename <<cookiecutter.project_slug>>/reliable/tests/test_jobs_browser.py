"""The admin of jobs in a real Chromium, under a strict Content-Security-Policy.

What the console complains of fails a test: a violation of the policy, a file that is not there, an
error of a script.
"""

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.utils import timezone

from reliable.jobs import State, changes, ids, operations
from reliable.jobs.models import Attempt, Job, Queue, Worker
from reliable.jobs.selection import Selection
from reliable.jobs.states import FINISHED
from reliable.testing.browser import NARROW, WIDE, Visitor
from reliable.testing.system import System

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

JOBS = "/admin/reliable_jobs/job/"
QUEUES = "/admin/reliable_jobs/queue/"

TRACEBACK = """Traceback (most recent call last):
  File "/srv/app/releases/41/reliable/jobs/runner.py", line 182, in _body
    result = task(*self.args, **self.kwargs)
  File "/srv/app/releases/41/orders/tasks.py", line 48, in charge
    payments.charge(order, idempotency_key=current_job().idempotency_key)
  File "/srv/app/releases/41/orders/payments.py", line 61, in charge
    raise ProviderAway(f"{answer.status} of {self.url}", answer.headers.get("Retry-After"))
orders.payments.ProviderAway: 503 of https://payments.example.com"""

FAILURES = (
    ("orders.tasks.charge", "mail", "ProviderAway", "orders.payments.Provider.charge", 9),
    ("orders.tasks.email_receipt", "mail", "SMTPServerDisconnected", "orders.services.receipt", 4),
    ("orders.tasks.ship", "default", "timed out", "orders.services.ship", 2),
    ("imports.tasks.load", "slow", "worker lost", "", 1),
)

ERRORS = {
    "SMTPServerDisconnected": "SMTPServerDisconnected: Connection unexpectedly closed",
    "timed out": "It took longer than its time limit of 60 s.",
    "worker lost": "Its worker was taken for dead.",
}


def a_job(task: str, state: str, queue: str, minutes: int, **columns: Any) -> Job:
    ago = timezone.now() - timedelta(minutes=minutes)
    running = {"worker": uuid.uuid4(), "started_at": ago, "deadline_at": timezone.now()}
    return Job.objects.create(
        **{
            "id": ids.new(),
            "task": task,
            "state": state,
            "queue": queue,
            "args": [4711 + minutes],
            "created_at": ago,
            "run_at": ago,
            "release_enqueued": "41",
            "finished_at": ago if state in FINISHED else None,
            **(running if state == "running" else {}),
            **columns,
        }
    )


@pytest.fixture
def jobs(system: System) -> Job:
    """A day's work; returns a job that has failed."""
    for minutes in range(60):
        a_job("orders.tasks.ship", "succeeded", "default", minutes + 2)
    failed = []
    for task, queue, exception, place, number in FAILURES:
        for minutes in range(number):
            error = ERRORS.get(exception, f"{exception}: 503 of https://payments.example.com")
            job = a_job(
                *(task, "failed", queue, minutes * 7),
                error=error,
                exception=exception,
                place=place,
                attempt=5,
                claim_no=5,
                headers={"request_id": "5b1c0c64-6c33-4d6a-8d0e-1f6a3d1f5f0a"},
                tags=["black-friday"],
            )
            failed.append(job)
    for number in range(1, 3):
        Attempt.objects.create(
            job=failed[0],
            claim_no=number,
            outcome="failed",
            counted=True,
            started_at=timezone.now() - timedelta(minutes=20 - number, seconds=3),
            ended_at=timezone.now() - timedelta(minutes=20 - number),
            release="41",
            error=failed[0].error,
            traceback=TRACEBACK,
        )
    Job.objects.filter(pk=failed[0].pk).update(created_at=timezone.now() - timedelta(minutes=21))
    a_job("orders.tasks.email_receipt", "waiting", "mail", 1, parent_id=failed[0].pk)
    a_job("imports.tasks.load", "running", "slow", 12)
    a_job("imports.tasks.load", "waiting", "slow", -90)
    Worker.objects.create(id=uuid.uuid4(), name="mail", queues=["mail", "mail.jobs"], slots=4)
    Queue.objects.create(
        name="slow", paused_at=timezone.now(), paused_by="grace", paused_why="imports at night"
    )
    return failed[0]


@pytest.fixture
def ada(system: System) -> Any:
    """Who may operate."""
    user = get_user_model().objects.create_user("ada", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["operate_job", "operate_queue"])
    )
    return user


@pytest.fixture
def site(system: System, jobs: Job) -> System:
    system.web(wsgi="reliable.testing.strict_site")
    return system


def pages(job: Job) -> dict[str, str]:
    return {
        "jobs": JOBS,
        "failed": f"{JOBS}?state=failed&queue=mail",
        "job": f"{JOBS}{job.pk}/change/",
        "failures": f"{JOBS}groups/",
        "preview": f"{JOBS}preview/?operation=retry&state=failed",
        "changes": f"{JOBS}changes/",
        "queues": QUEUES,
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_each_page_fits_can_be_read_by_everybody_and_keeps_to_the_policy(
    site: System, visitor: Visitor, ada: Any, jobs: Job, size: tuple[int, int], scheme: Any
) -> None:
    page = visitor.window(ada, size=size, scheme=scheme)
    for name, address in pages(jobs).items():
        answer = page.goto(address)
        assert answer
        assert answer.status == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        visitor.check_width(page)
        visitor.check_accessibility(page)
        page.reload()
        visitor.picture(page, f"{name}-{'wide' if size == WIDE else 'narrow'}-{scheme}")


def test_a_group_of_failures_is_retried_and_the_page_says_how_it_went(
    site: System, visitor: Visitor, ada: Any
) -> None:
    page = visitor.window(ada)
    page.goto(f"{JOBS}groups/")
    page.get_by_role("link", name=re.compile("Retry 9")).click()
    assert "9 jobs will be retried" in page.inner_text("#content-main")
    page.get_by_label("Why").fill("the provider is back")
    page.get_by_role("button", name="Retry 9 jobs").click()
    page.wait_for_url(re.compile(r"/changes/\d+/$"))
    assert "9 jobs retried" in page.get_by_role("status").inner_text()
    assert Job.objects.filter(task="orders.tasks.charge", state="waiting").count() == 9
    assert Job.objects.filter(state="failed").count() == 7


def test_a_change_of_many_goes_on_by_itself_until_it_is_done(
    system: System, visitor: Visitor, ada: Any
) -> None:
    Job.objects.bulk_create(
        [
            Job(id=ids.new(), task="a.b", queue="mail", state="failed", finished_at=timezone.now())
            for _ in range(3000)
        ]
    )
    system.web(wsgi="reliable.testing.strict_site")
    page = visitor.window(ada)
    # As if its browser had been closed at once.
    change = changes.begin(
        operations.OPERATIONS["discard"],
        Selection(states=(State.FAILED,), until=timezone.now()),
        by="ada",
        reason="discarded by ada",
        matched=3000,
    )
    page.goto(f"{JOBS}changes/{change.pk}/", wait_until="commit")
    page.get_by_role("progressbar").wait_for()
    page.get_by_text("3,000 jobs discarded").wait_for(timeout=60_000)
    assert Job.objects.filter(state="cancelled").count() == 3000


def test_without_a_script_everything_works_too(site: System, visitor: Visitor, ada: Any) -> None:
    page = visitor.window(ada, javascript=False)
    page.goto(f"{JOBS}?state=failed&queue=slow")
    page.locator("input[name=id]").check()
    page.get_by_role("button", name="Discard…").click()
    page.get_by_role("button", name="Discard 1 job").click()
    assert "1 job discarded" in page.get_by_role("status").inner_text()
    assert Job.objects.get(task="imports.tasks.load", state="cancelled").queue == "slow"


def to(page: "Page", there: Callable[[], bool], most: int = 80) -> None:
    """Press the tabulator until the focus is there."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if there():
            return
    raise AssertionError(f"{most} times the tabulator, and the focus never came there")


def focused(page: "Page", selector: str) -> Callable[[], bool]:
    return lambda: bool(page.evaluate("s => document.activeElement.matches(s)", selector))


def test_ticking_and_discarding_needs_no_mouse(site: System, visitor: Visitor, ada: Any) -> None:
    page = visitor.window(ada)
    page.goto(f"{JOBS}?state=failed&queue=default")
    to(page, focused(page, "[data-rj-all]"))
    page.keyboard.press("Space")
    assert page.locator(".rj-ticked").inner_text() == "2 ticked:"
    to(page, focused(page, "button[value=discard]"))
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("preview"))
    # The reason has the focus.
    page.keyboard.type("not wanted")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/changes/\d+/$"))
    assert "2 jobs discarded" in page.get_by_role("status").inner_text()
    assert Job.objects.filter(queue="default", state="cancelled").count() == 2


def test_a_queue_is_paused_limited_and_resumed(site: System, visitor: Visitor, ada: Any) -> None:
    page = visitor.window(ada)
    page.goto(QUEUES)
    queue = page.locator(".rj-queue", has=page.get_by_role("heading", name="mail"))
    queue.locator("summary", has_text="Pause").click()
    queue.get_by_label("Why").fill("the provider is down")
    queue.get_by_label("For how long").fill("2h")
    queue.get_by_role("button", name="Pause").click()
    queue.get_by_text("by ada (the provider is down)").wait_for()
    queue.locator("summary", has_text="Limit").click()
    queue.get_by_label("Running at once").fill("3")
    queue.get_by_role("button", name="Set limit").click()
    queue.get_by_text("of at most 3").wait_for()
    visitor.picture(page, "queues-paused-wide-light")
    queue.get_by_role("button", name="Resume").click()
    page.get_by_text("The queue mail goes on").wait_for()
    row = Queue.objects.get(name="mail")
    assert (row.paused_at, row.limit) == (None, 3)


def test_a_violation_of_the_policy_would_be_noticed(site: System, visitor: Visitor) -> None:
    page = visitor.window()
    page.goto("/admin/login/")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">x</p>')")
    assert any("Content Security Policy" in each for each in visitor.complaints)
    visitor.complaints.clear()
