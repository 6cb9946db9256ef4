"""The operations page: to whom it shows itself, and what its buttons do."""

import re
import time

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.test import Client

from reliable.jobs.models import Job, Queue
from reliable.probes.admin.overview import overview
from reliable.probes.models import Target
from reliable.testing.system import System
from reliable.tests import watched
from reliable.tests.operations_page import PAGE, fail, row, said
from reliable.tests.staff import somebody


@pytest.fixture
def operator(db: None) -> Client:
    return somebody("ada", "operate_target")


@pytest.fixture
def viewer(db: None) -> Client:
    return somebody("grace", "view_target")


# --- Who may what --------------------------------------------------------------------------------


def test_strangers_and_staff_without_the_permission_see_nothing(client: Client, db: None) -> None:
    nobody = somebody("eve")
    for address in (PAGE, f"{PAGE}live/", f"{PAGE}pause/?queue=mail", f"{PAGE}failed/?do=retry"):
        assert nobody.get(address).status_code == 403
        assert client.get(address, headers={"x-forwarded-proto": "https"}).status_code == 302
    assert "Operations" not in nobody.get("/admin/").content.decode()


def test_who_may_look_may_not_operate(viewer: Client) -> None:
    watched.healthy()
    fail(1)
    text = said(viewer)
    for button in ("Probe now", "Pause", "Retry", "Discard"):
        assert button not in text
    for address in ("probe/", "pause/", "resume/", "failed/"):
        assert viewer.post(PAGE + address, {"queue": "mail"}).status_code == 403
    assert viewer.get(f"{PAGE}pause/?queue=mail").status_code == 403


def test_the_index_of_the_admin_leads_there(viewer: Client, operator: Client) -> None:
    for client in (viewer, operator):
        assert f'href="{PAGE}"' in client.get("/admin/").content.decode()


def test_nothing_is_changed_by_a_link_or_from_another_site(operator: Client) -> None:
    for address in ("probe/", "resume/"):
        assert operator.get(PAGE + address).status_code == 405
    strict = Client(enforce_csrf_checks=True, headers={"x-forwarded-proto": "https"})
    strict.force_login(get_user_model().objects.get(username="ada"))
    for address in ("probe/", "pause/", "resume/", "failed/"):
        assert strict.post(PAGE + address, {"queue": "mail"}).status_code == 403
    assert not Queue.objects.filter(paused_at__isnull=False).exists()


# --- What it does --------------------------------------------------------------------------------


def test_a_queue_is_paused_and_resumed_with_lines_in_the_log(operator: Client) -> None:
    watched.healthy()
    assert "Pause mail" in said(operator, f"{PAGE}pause/?queue=mail")
    data = {"queue": "mail", "lasts": "1 hour", "why": "the provider is down"}
    answer = operator.post(f"{PAGE}pause/", data)
    assert answer.headers["location"] == PAGE
    queue = Queue.objects.get(name="mail")
    assert queue.paused_at
    assert queue.paused_until
    assert (queue.paused_until - queue.paused_at).total_seconds() == pytest.approx(3600, abs=1)
    assert (queue.paused_by, queue.paused_why) == ("ada", "the provider is down")
    assert "Resume mail" in said(operator)
    operator.post(f"{PAGE}resume/", {"queue": "mail"})
    queue.refresh_from_db()
    assert queue.paused_at is None
    lines = LogEntry.objects.order_by("id").values_list("object_repr", "change_message")
    assert list(lines) == [
        (
            "mail",
            "The queue mail is paused for 1 hour. What runs comes to its end. the provider is down",
        ),
        ("mail", "The queue mail goes on."),
    ]


@pytest.mark.parametrize(
    "data",
    [
        {"queue": "mail", "lasts": "for ever"},
        {"queue": "mail", "lasts": "1 hour", "why": "x" * 501},
        {"queue": "mail", "lasts": "1 hour", "why": "a\x00b"},
        {"queue": "mial", "lasts": "1 hour"},
        {},
    ],
)
def test_what_cannot_be_meant_pauses_nothing(operator: Client, data: dict[str, str]) -> None:
    assert operator.post(f"{PAGE}pause/", data).status_code in {302, 404}
    assert not Queue.objects.filter(paused_at__isnull=False).exists()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(("do", "state"), [("retry", "waiting"), ("discard", "cancelled")])
def test_a_group_of_failures_is_retried_or_discarded_after_a_preview(
    operator: Client, do: str, state: str
) -> None:
    watched.healthy()
    fail(37)
    fail(2, "orders.tasks.ship_order")
    page = operator.get(PAGE).content.decode()
    [address] = re.findall(
        rf'href="([^"]*do={do}[^"]*)"[^>]*>[^<]*<span[^>]*>[^<]*tasks.charge', page
    )
    address = address.replace("&amp;", "&")
    assert "37 jobs will be" in said(operator, address)
    assert Job.objects.filter(state="failed").count() == 39
    group = address.rpartition("group=")[2]
    answer = operator.post(f"{PAGE}failed/", {"do": do, "group": group})
    assert answer.headers["location"] == PAGE
    assert Job.objects.filter(state=state, task="orders.tasks.charge_order").count() == 37
    assert Job.objects.filter(state="failed").count() == 2
    [line] = LogEntry.objects.all()
    assert "37 jobs" in line.change_message
    # A second click, of somebody who was slower, finds none.
    operator.post(f"{PAGE}failed/", {"do": do, "group": group})
    assert LogEntry.objects.count() == 1
    assert "somebody else was quicker" in operator.get(PAGE).content.decode()


def test_an_operation_that_does_not_exist_is_not_found(operator: Client) -> None:
    assert operator.post(f"{PAGE}failed/", {"do": "erase", "group": "x"}).status_code == 404


def test_probe_now_travels_the_real_way_and_the_row_shows_the_answer(system: System) -> None:
    operator = somebody("ada", "operate_target")
    system.worker("mail")
    for name in ("mail", "mail.jobs"):
        watched.target("queue", name)
    operator.post(f"{PAGE}probe/", {"queue": "mail"})
    text = operator.get(PAGE).content.decode()
    assert re.search(r"mail answered in \d\.\d\d s, from mail-a@", text), text
    for name in ("mail", "mail.jobs"):
        answered = Target.objects.get(name=name)
        assert (answered.sent, answered.returned) == (1, 1)
    latencies = Target.objects.filter(kind="queue").values_list("latency", flat=True)
    assert row(overview(), "mail").latency == max(filter(None, latencies))
    assert LogEntry.objects.get().change_message.startswith("Probed: The list mail answered in")


def test_probe_now_says_why_nothing_comes_back(system: System) -> None:
    operator = somebody("ada", "operate_target")
    watched.target("queue", "mail")
    began = time.monotonic()
    operator.post(f"{PAGE}probe/", {"queue": "mail"})
    assert time.monotonic() - began < 6
    text = operator.get(PAGE).content.decode()
    assert "mail was asked, and has not answered within 2 s: no worker reads it" in text
    assert system.waiting("mail") == 1


@pytest.mark.own_servers
def test_probe_now_says_that_the_broker_is_away(system: System) -> None:
    operator = somebody("ada", "operate_target")
    watched.target("queue", "mail")
    system.servers.processes["broker"].kill()
    operator.post(f"{PAGE}probe/", {"queue": "mail"})
    assert "mail could not be asked" in operator.get(PAGE).content.decode()
    answered = Target.objects.get(name="mail")
    assert (answered.token, answered.waiting) == (None, None)
    assert answered.error


def test_a_queue_that_nobody_watches_cannot_be_probed(operator: Client) -> None:
    operator.post(f"{PAGE}probe/", {"queue": "mial"})
    assert "No queue &#x27;mial&#x27; is watched" in operator.get(PAGE).content.decode()
    assert not LogEntry.objects.exists()
