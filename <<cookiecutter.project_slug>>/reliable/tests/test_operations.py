"""The operations page: what it says in each state."""

import html
import re

import pytest
from django.contrib.admin.models import LogEntry
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
from reliable.tests import watched
from reliable.tests.operations_page import PAGE, fail, row, said
from reliable.tests.staff import somebody


@pytest.fixture
def operator(db: None) -> Client:
    return somebody("ada", "operate_target")


@pytest.fixture
def viewer(db: None) -> Client:
    return somebody("grace", "view_target")


def links(now: Overview) -> dict[str, str]:
    return {link.name: link.state for link in now.links}


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
