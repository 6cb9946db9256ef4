"""The operations page: what it says in each state, to whom, and what its buttons do."""

import html
import re
import time

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from reliable import provider
from reliable.jobs import ids
from reliable.jobs.models import Job, Queue
from reliable.probes.admin.curves import POINTS, curve
from reliable.probes.admin.overview import Overview, overview
from reliable.probes.admin.rows import QueueRow
from reliable.probes.models import Target
from reliable.testing.system import System
from reliable.tests import watched
from reliable.tests.staff import somebody

PAGE = "/admin/reliable_probes/target/"


@pytest.fixture
def operator(db: None) -> Client:
    return somebody("ada", "operate_target")


@pytest.fixture
def viewer(db: None) -> Client:
    return somebody("grace", "view_target")


def said(client: Client, address: str = PAGE) -> str:
    """The words of a page, as a person reads them."""
    answer = client.get(address)
    assert answer.status_code == 200, answer
    main = answer.content.decode().rsplit('id="content-main"', maxsplit=1)[-1]
    return " ".join(re.sub(r"<[^>]*>", " ", main).split())


def row(now: Overview, name: str) -> QueueRow:
    [found] = [each for each in now.queues if each.name == name]
    return found


def links(now: Overview) -> dict[str, str]:
    return {link.name: link.state for link in now.links}


def fail(number: int, task: str = "orders.tasks.charge_order") -> None:
    Job.objects.bulk_create(
        Job(
            id=ids.new(),
            task=task,
            queue="mail",
            state="failed",
            exception="ProviderAway",
            place="orders.payments.charge",
            error="ProviderAway: 503",
            finished_at=timezone.now(),
        )
        for _ in range(number)
    )


# --- What it says --------------------------------------------------------------------------------


def test_where_all_is_well_it_says_so(viewer: Client) -> None:
    watched.healthy()
    watched.a_day()
    text = said(viewer)
    assert "all is well Beat ticks, and critical, mail, slow and default answer in time." in text
    now = overview()
    assert now.sentence.state == "ok"
    # Nothing inside can know whether somebody looks from outside.
    assert links(now) == dict.fromkeys(links(now), "ok") | {"outside": "unknown"}
    assert list(links(now)) == [
        *("beat", "relay", "broker", "queues", "workers", "database", "outside")
    ]
    assert row(now, "mail").p95 is not None
    assert (row(now, "mail").busy, row(now, "mail").slots) == (1, 2)


def test_a_silent_queue_is_named_with_its_cause_and_what_waits(viewer: Client) -> None:
    watched.healthy()
    watched.silent("mail")
    Job.objects.bulk_create(
        Job(id=ids.new(), task="a.b", queue="mail", run_at=watched.ago(409)) for _ in range(37)
    )
    now = overview()
    assert now.sentence.word == "broken"
    # Seconds go by while it is looked at.
    says = r"mail has not answered for 6 min 5\d s: its worker mail@web1"
    assert re.match(says, now.sentence.says), now.sentence
    waiting, others = now.sentence.more
    assert re.fullmatch(r"37 jobs wait in mail, the oldest for 6 min [45]\d s\.", waiting)
    assert others == "critical, slow and default answer in time."
    assert now.sentence.since == pytest.approx(292, abs=10)
    assert links(now)["workers"] == "silent"
    assert links(now)["beat"] == links(now)["database"] == "ok"
    assert row(now, "mail").state == "silent"
    assert (row(now, "mail").workers, row(now, "mail").slots) == (0, 0)
    assert row(now, "mail").messages == 12
    text = said(viewer)
    assert "✕ silent" in text
    assert "0 of 0 no workers" in text
    # What a dead worker said once is not how it is.
    assert text.count("busy when it reported last") == 1


def test_a_dead_beat_leaves_queues_unknown_and_not_0(viewer: Client) -> None:
    watched.healthy()
    watched.beat_dead()
    now = overview()
    assert re.fullmatch(r"Beat has not ticked for 5 min( \d s)?\.", now.sentence.says), now
    assert "So nobody knows whether queues move." in now.sentence.more
    assert links(now)["beat"] == "silent"
    assert (links(now)["broker"], links(now)["queues"]) == ("unknown", "unknown")
    assert row(now, "mail").messages is None
    assert "messages unknown" in said(viewer)


def test_with_redis_down_what_is_not_known_is_unknown_and_never_0(viewer: Client) -> None:
    watched.healthy()
    watched.broker_down()
    now = overview()
    says = r"The broker has not taken a message for 3 min 2\d s: "
    assert re.match(says, now.sentence.says), now.sentence
    assert links(now)["broker"] == "unsent"
    assert links(now)["workers"] == "ok"
    assert all(each.messages is None for each in now.queues)
    text = said(viewer)
    assert "messages unknown" in text
    assert "messages 0" not in text
    assert "broken" in text


def test_a_system_that_has_never_run_is_told_so(viewer: Client) -> None:
    text = said(viewer)
    assert "Beat has never ticked." in text
    assert "No worker has reported." in text
    assert "Nothing has changed yet." in text


def test_a_paused_queue_is_no_fault(viewer: Client) -> None:
    watched.healthy()
    Queue.objects.create(name="mail", paused_at=timezone.now(), paused_by="grace", paused_why="tax")
    now = overview()
    assert now.sentence.state == "ok"
    assert "by grace (tax)" in now.sentence.more[0]
    assert links(now)["queues"] == "paused"
    assert row(now, "mail").paused


def test_failed_jobs_wait_for_a_decision(viewer: Client) -> None:
    watched.healthy()
    fail(37)
    now = overview()
    assert (now.sentence.word, now.sentence.state) == ("failed jobs", "late")
    assert now.sentence.more == ["37 failed jobs wait for a decision."]
    text = said(viewer)
    assert "37 orders.tasks.charge_order ProviderAway orders.payments.charge" in text
    assert "Retry 37" not in text


def test_a_number_that_was_counted_up_to_a_limit_says_so(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.healthy()
    source = provider.registered()
    assert source
    stats = provider.QueueStats(10_000, 0, 0, 0, 60.0, 10_001)
    monkeypatch.setattr(source, "queues", lambda: {"mail": stats}, raising=False)
    groups = [provider.FailedGroup("k", "a.b", "E", 10_001, timezone.now(), timezone.now(), "x")]
    monkeypatch.setattr(source, "failed", lambda: groups, raising=False)
    text = said(operator)
    assert re.search(r"10,000 or more oldest (6\d s|1 min)", text), text
    assert "10,000 or more failed jobs wait" in text
    # Not in one request.
    assert "Retry" not in text.partition("Failed jobs")[2].partition("step by step")[0]
    assert "Many: retry or discard them step by step" in text
    [digest] = re.findall(r"failures-(\w+)", operator.get(PAGE).content.decode())
    operator.post(f"{PAGE}failed/", {"do": "retry", "group": digest})
    assert "too many to retry at once here" in operator.get(PAGE).content.decode()
    assert not LogEntry.objects.exists()


def test_a_worker_of_another_release_and_a_task_beyond_its_limit_stand_out(viewer: Client) -> None:
    watched.healthy()
    watched.worker("mail", (("a.b", 75.0), ("a.c", 5.0)), release="40")
    with override_settings(RELEASE=watched.RELEASE):
        workers = overview().workers
        text = said(viewer)
    [worker] = [each for each in workers if each.name == "mail@web1"]
    assert [each for each in workers if each.other] == [worker]
    assert [slot.over for slot in worker.slots] == [True, False]
    assert worker.longest
    assert worker.longest.task == "a.b"
    assert text.count("≠ not this site's") == 1
    assert "release 40 ≠ not this site's" in html.unescape(text)


def test_without_durable_tasks_their_parts_are_absent(
    viewer: Client, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "_provider", None)
    watched.healthy()
    text = said(operator)
    assert "all is well" in text
    for part in ("Failed jobs", "Schedule", "relay", "Pause", "Done / min"):
        assert part not in text
    assert "Probe now" in text
    assert operator.get(f"{PAGE}pause/?queue=mail").status_code == 404
    assert operator.get(f"{PAGE}failed/?do=retry&group=x").status_code == 404


def test_its_part_that_is_polled_is_the_same_without_the_frame(viewer: Client) -> None:
    watched.healthy()
    live = viewer.get(f"{PAGE}live/")
    assert live.status_code == 200
    text = live.content.decode()
    assert "<html" not in text
    parts = re.findall(r'data-ro-part="(\w+)"', text)
    assert parts == re.findall(r'data-ro-part="(\w+)"', viewer.get(PAGE).content.decode())
    assert {"sentence", "chain", "queues", "workers", "failed", "schedule"} <= set(parts)


def test_nothing_inline_stands_in_it(viewer: Client) -> None:
    watched.healthy()
    text = viewer.get(PAGE).content.decode().rsplit('id="content-main"', maxsplit=1)[-1]
    assert not re.search(r'\sstyle="|<style|\son\w+="|<script>', text)


def test_it_asks_the_database_a_number_of_times_that_no_queue_adds_to(
    viewer: Client, settings: Settings
) -> None:
    def asked() -> int:
        watched.healthy()
        watched.a_day()
        with CaptureQueriesContext(connection) as queries:
            assert viewer.get(PAGE).status_code == 200
        return len(queries)

    few = asked()
    assert few <= 14
    more = {f"mail{number}": settings.QUEUES["mail"] for number in range(5)}
    settings.QUEUES = settings.QUEUES | more
    assert asked() == few


# --- The curve -----------------------------------------------------------------------------------


def test_a_curve_has_gaps_where_nobody_answered_and_marks_where_the_promise_was_broken() -> None:
    drawn = curve({0: 0.04, 1: 0.05, 3: 90.0}, warn=30)
    assert drawn.line.count("M") == 2
    assert [x for x, _ in drawn.over] == [(POINTS - 4) * 3]
    assert drawn.over[0][1] < drawn.promise
    assert drawn.says == (
        "last 24 hours: the slowest answer took 90 s, later than the promised 30 s in 1 of 3"
        " half-hours"
    )


def test_a_curve_of_nothing_is_empty() -> None:
    drawn = curve({}, warn=5)
    assert (drawn.line, list(drawn.over)) == ("", [])
    assert drawn.says == "no answer in the last 24 hours"


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
