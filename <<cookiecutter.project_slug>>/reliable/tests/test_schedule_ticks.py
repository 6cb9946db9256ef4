"""Ticks as rows: what is caught up, who is passed over, and what is refused at the start."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from celery import current_app
from pytest_django.fixtures import Settings

from reliable.jobs import current_job, durable_task
from reliable.jobs.database import rows
from reliable.jobs.models import Beat, Job, Schedule
from reliable.jobs.schedule import calls, sql
from reliable.schedule import Entry, Interval, crontab, every
from reliable.testing import tasks
from reliable.testing.dispatches import Dispatches
from reliable.testing.effects import Effects
from reliable.testing.run_jobs import run_jobs
from reliable.testing.system import System
from reliable.testing.waiting import wait_until
from reliable.tests.test_schedule_processes import EACH_SECOND, declare
from reliable.tests.ticked import HOUR, NOTE, behind, dues, schedule, ticker

pytestmark = pytest.mark.django_db

NAP = tasks.nap.name

seen: list[datetime | None] = []


@durable_task(queue="default")
def remember_when() -> None:
    """Note the tick that it runs for."""
    seen.append(current_job().due)


@durable_task(queue="default", unique="until_finished")
def never_twice() -> None:
    """Run one at a time."""


# --- What ticks ----------------------------------------------------------------------------------


def test_a_new_entry_starts_with_its_next_tick_and_not_with_the_past() -> None:
    beat = ticker(schedule(every(seconds=1), missed="each", at_most=100))
    began = datetime.now(UTC)
    beat.round()
    wait_until(lambda: beat.round() is not None and Job.objects.count() >= 2, "two ticks")
    assert dues()[0] >= began - timedelta(seconds=1)
    assert len(set(dues())) == len(dues())


@pytest.mark.parametrize(
    ("policy", "jobs_made"),
    [
        ({"missed": "once"}, 1),
        ({"missed": "each", "at_most": 3}, 3),
        ({"missed": "each", "at_most": 9}, 5),
    ],
)
def test_ticks_that_were_missed_are_caught_up_as_the_entry_says(
    policy: dict[str, Any], jobs_made: int
) -> None:
    beat = behind(schedule(**policy), 5 * HOUR)
    beat.round()
    beat.round()
    row = Schedule.objects.get()
    assert len(dues()) == jobs_made
    assert dues()[-1] == row.last_due == row.last_tick
    assert [later - earlier for earlier, later in zip(dues(), dues()[1:], strict=False)] == [
        HOUR
    ] * (jobs_made - 1)
    # Unless this test runs in the first minute of an hour.
    in_time = datetime.now(UTC) - row.last_due <= timedelta(seconds=61)
    assert row.missed in ((4, 5) if in_time else (5,))
    assert row.last_job in set(Job.objects.values_list("id", flat=True))


def test_with_skip_no_missed_tick_runs_and_each_is_counted() -> None:
    # Twice a day, so that none is in time.
    hour = (datetime.now(UTC) - timedelta(hours=2)).hour
    beat = behind(schedule(crontab(f"0 {hour},{(hour + 12) % 24} * * *"), missed="skip"), 24 * HOUR)
    beat.round()
    row = Schedule.objects.get()
    assert (dues(), row.missed, row.last_tick, row.last_job) == ([], 2, None, None)
    assert row.missed_at


def test_of_two_beats_that_saw_the_same_one_takes_the_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    first = behind(schedule(), HOUR)
    second = ticker(first.entries)
    stale = rows(sql.ENTRIES, {})
    first.round()
    monkeypatch.setattr(
        "reliable.jobs.schedule.ticker.rows",
        lambda statement, values: stale if statement == sql.ENTRIES else rows(statement, values),
    )
    second.round()
    assert len(dues()) == 1


def test_a_job_knows_the_tick_that_it_is_and_another_job_knows_of_none() -> None:
    seen.clear()
    behind(schedule(task=remember_when.name), HOUR).round()
    remember_when.delay()
    run_jobs()
    assert seen == [Schedule.objects.get().last_due, None]


def test_a_tick_of_a_unique_task_finds_the_job_that_still_waits() -> None:
    beat = behind(schedule(task=never_twice.name, missed="each", at_most=3), 3 * HOUR)
    beat.round()
    assert Job.objects.count() == 1
    assert Schedule.objects.get().last_job == Job.objects.get().id


def test_the_call_has_the_entrys_queue_priority_and_expiry() -> None:
    behind(schedule(queue="mail", priority=9, expires=60), HOUR).round()
    job = Job.objects.get()
    assert (job.queue, job.priority, job.args) == ("mail", 9, ["a"])
    assert job.expires_at is not None
    assert abs((job.expires_at - job.run_at).total_seconds() - 60) < 1


def test_an_entry_that_cannot_be_enqueued_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    entries = {"broken": Entry(NOTE, every(seconds=1)), **schedule(every(seconds=1))}
    beat = ticker(entries)
    wait_until(lambda: beat.round() is not None and len(dues()) > 1, "ticks of the other")
    failed = [record for record in caplog.records if "schedule.tick_failed" in str(record.msg)]
    assert len(failed) == 1  # once, not at each try
    assert Schedule.objects.get(name="broken").last_tick is None


def test_an_entry_with_another_timing_starts_anew_and_one_with_other_arguments_does_not() -> None:
    behind(schedule(), HOUR)
    ticker(schedule(args=("b",))).round()
    assert [job.args for job in Job.objects.all()] == [["b"]]
    Schedule.objects.update(last_due=datetime.now(UTC) - 5 * HOUR)
    ticker(schedule(crontab("0 * * * *"))).round()
    assert len(dues()) == 1


def test_an_entry_that_is_removed_keeps_its_pause_for_a_rollback() -> None:
    ticker(schedule()).round()
    Schedule.objects.update(paused_at=datetime.now(UTC), paused_by="ann")
    ticker({}).round()
    assert Schedule.objects.get().removed_at
    ticker(schedule()).round()
    row = Schedule.objects.get()
    assert (row.removed_at, row.paused_by) == (None, "ann")


def test_what_was_removed_a_month_ago_is_deleted() -> None:
    long_ago = datetime.now(UTC) - timedelta(days=31)
    Schedule.objects.create(name="old", timing="x", removed_at=long_ago)
    Beat.objects.create(host="old", schedule="x", seen_at=long_ago)
    ticker(schedule()).round()
    assert set(Schedule.objects.values_list("name", flat=True)) == {"entry"}
    assert not Beat.objects.filter(host="old").exists()


def test_an_entry_that_ticked_in_the_future_of_a_wrong_clock_starts_anew() -> None:
    beat = behind(schedule(every(seconds=1)), timedelta(days=-400))
    wait_until(lambda: beat.round() is not None and dues(), "a tick")


def test_a_plain_task_is_sent_once_and_after_its_note(
    dispatched: Dispatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat = behind(schedule(task=NAP, args=("x",), expires=60), HOUR)
    monkeypatch.setattr(beat, "_producer", lambda: None)  # of what answers, see the real ones
    beat.round()
    beat.round()
    assert [sent.args for sent in dispatched] == [("x",)]
    assert Schedule.objects.get().last_tick


@pytest.mark.django_db(transaction=True)
def test_a_beat_that_is_frozen_in_the_middle_of_a_tick_holds_it_for_seconds_only(
    system: System, effects: Effects
) -> None:
    declare(system, EACH_SECOND.replace("1000", "900"))
    system.beat()
    wait_until(lambda: effects.states.get("waiting"), "a tick")
    url = system.servers.postgresql.url(system.database)
    # What another beat has done when it is frozen: the tick, and not the job.
    with psycopg.connect(url) as frozen:
        taken: list[Any] = []
        deadline = time.monotonic() + 30
        while not taken and time.monotonic() < deadline:
            found = frozen.execute(
                b"SELECT timing, last_due FROM reliable_schedule WHERE name = 'durable'"
            ).fetchone()
            assert found
            after = Interval(timedelta(seconds=1)).after(found[1])
            values = {"name": "durable", "timing": found[0], "seen": found[1], "due": next(after)}
            taken = frozen.execute(
                sql.TICK.encode(), {**values, "runs": True, "missed": 0}
            ).fetchall()
            if not taken:
                frozen.rollback()
        assert taken
        began = time.monotonic()
        before = effects.count("reliable_job")
        wait_until(lambda: effects.count("reliable_job") > before, "a tick", timeout=15)
        print(f"it held the entry for {time.monotonic() - began:.1f} s")
        assert time.monotonic() - began > 3  # it did hold it
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            frozen.execute("SELECT 1")
        frozen.close()


# --- What is refused at the start ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (Entry("no.such.task", every(hours=1)), "`task` names 'no.such.task'"),
        (Entry(NOTE, every(hours=1)), "`args` and `kwargs` do not fit its task"),
        (Entry(NOTE, every(hours=1), ("a", "b")), "too many positional arguments"),
        (Entry(NOTE, every(hours=1), (object(),)), "the argument `name` cannot be kept"),
        (Entry(NAP, every(hours=1), ("a",)), "`expires` is missing"),
        (Entry(NAP, every(hours=1), expires=9), "`args` and `kwargs` do not fit its task"),
        (Entry(NAP, every(hours=1), ({1},), expires=9), "do not fit its task"),
        (Entry(NOTE, every(hours=1), ("a",), queue="typo"), "`queue` is 'typo'"),
    ],
)
def test_what_only_loaded_tasks_can_tell_is_refused_by_name(
    settings: Settings, entry: Entry, sentence: str
) -> None:
    settings.SCHEDULE = {"nightly": entry}
    [problem] = calls.problems()
    assert problem.startswith("The entry `nightly` of the schedule: ")
    assert sentence in problem


def test_entries_of_celerys_own_schedule_are_refused_since_nobody_reads_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SCHEDULE = {}
    monkeypatch.setitem(current_app.conf.beat_schedule, "forgotten", {"task": NAP})
    [problem] = calls.problems()
    assert "CELERY_BEAT_SCHEDULE has the entry `forgotten`" in problem
