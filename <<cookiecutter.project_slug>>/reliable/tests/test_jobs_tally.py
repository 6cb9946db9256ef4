"""Counts of what ran are exact, whoever dies meanwhile; finished jobs go when somebody said so."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from reliable.jobs import ids, retention, tally
from reliable.jobs.database import Session
from reliable.jobs.duties import Duties
from reliable.jobs.models import Attempt, Job, Tally, TallyMark
from reliable.jobs.states import Outcome
from reliable.testing.effects import Effects
from reliable.testing.jobs import effect, kill_own_process
from reliable.testing.system import System
from reliable.testing.waiting import wait_until

DAY = 86400


@pytest.fixture
def session(transactional_db: None) -> Iterator[Session]:
    with closing(Session()) as session:
        yield session


def ended(
    seconds_ago: float,
    *,
    state: str = "succeeded",
    task: str = "a.task",
    waited: float = 1.0,
    ran: float = 2.0,
) -> Job:
    """A job that ended so long ago."""
    finished = timezone.now() - timedelta(seconds=seconds_ago)
    started = finished - timedelta(seconds=ran)
    return Job.objects.create(
        id=ids.new(),
        task=task,
        queue="default",
        state=state,
        run_at=started - timedelta(seconds=waited),
        started_at=started,
        finished_at=finished,
    )


def count(session: Session) -> None:
    """One tally, as the relay that has the lock does it."""
    with session.raw.transaction():
        tally.tally(session)


def mark(seconds_ago: float) -> None:
    TallyMark.objects.all().delete()
    TallyMark.objects.create(id=1, until=timezone.now() - timedelta(seconds=seconds_ago))


def totals() -> dict[str, int]:
    found: dict[str, int] = {}
    for row in Tally.objects.all():
        found[row.kind] = found.get(row.kind, 0) + row.count
    return found


# --- Counting ------------------------------------------------------------------------------------


def test_each_end_is_counted_once_and_what_is_new_later(session: Session) -> None:
    mark(200)
    for ago in (300, 150, 100, 50, 1):
        ended(ago)
    dead, moment = ended(60, state="failed"), timezone.now() - timedelta(seconds=60)
    for outcome in (Outcome.FAILED, Outcome.CHILD_LOST, Outcome.SNOOZED):
        Attempt.objects.create(job=dead, claim_no=1, outcome=outcome, counted=True, ended_at=moment)
    count(session)
    expected = {"waited": 3, "ran": 3, "failed": 2, "put off": 1, "dead": 1}
    assert totals() == expected  # the last one is too new, the first was counted before
    count(session)
    assert totals() == expected


def test_a_tally_that_is_rolled_back_is_done_again(session: Session) -> None:
    mark(200)
    ended(100)
    with session.raw.transaction(force_rollback=True):
        tally.tally(session)
    assert totals() == {}
    count(session)
    assert totals() == {"waited": 1, "ran": 1}


def test_what_an_open_transaction_commits_late_is_counted(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "_HORIZON", tally._HORIZON.replace("'10 seconds'", "'0 seconds'"))  # noqa: SLF001
    job = ended(100)
    mark(1)
    count(session)
    with closing(Session()) as late, late.raw.transaction():
        late.execute("UPDATE reliable_job SET finished_at = clock_timestamp()")
        ended(0)
        count(session)
        count(session)
        assert totals() == {}  # the horizon stops at its beginning

    def both() -> bool:
        count(session)
        return totals() == {"waited": 2, "ran": 2}

    wait_until(both, "both")
    assert Job.objects.get(pk=job.pk).finished_at


def test_percentiles_are_at_most_a_tenth_off(session: Session) -> None:
    mark(200)
    now = timezone.now() - timedelta(seconds=100)
    Job.objects.bulk_create(
        Job(
            id=uuid.uuid4(),
            task="a.task",
            queue="default",
            state="succeeded",
            run_at=now - timedelta(seconds=number / 50),
            started_at=now - timedelta(seconds=number / 100),
            finished_at=now,
        )
        for number in range(1, 1001)
    )
    count(session)
    [row] = tally.by_task(timezone.now() - timedelta(hours=1))
    assert (row["task"], row["queue"], row["runs"], row["failures"]) == (
        "a.task",
        "default",
        1000,
        0,
    )
    for percent in (50, 95, 99):
        for kind in ("ran", "waited"):
            assert row[f"{kind}_p{percent}"] == pytest.approx(percent / 10, rel=0.1)


def test_the_last_hours_of_a_queue_have_a_figure_each(session: Session) -> None:
    mark(3 * 3600)
    for ago in (2 * 3600, 2 * 3600, 100):
        ended(ago, ran=0.5)
    for _ in range(40):  # five minutes each
        count(session)
    hours = tally.by_hour("default", hours=24)
    assert len(hours) == 24
    assert sum(hour["runs"] for hour in hours) == 3
    assert sum(hour["runs"] for hour in tally.by_hour("mail")) == 0
    [busy] = [hour for hour in hours if hour["runs"] == 2]
    assert busy["ran_p95"] == pytest.approx(0.5, rel=0.1)
    assert hours[0]["ran_p95"] is None


def test_old_counts_go(session: Session) -> None:
    mark(20)
    for days in (1, 31):
        hour = timezone.now() - timedelta(days=days)
        Tally.objects.create(hour=hour, queue="q", task="t", kind="ran", bucket=1, count=1)
    count(session)
    assert Tally.objects.count() == 1


def test_relays_that_are_killed_count_each_job_once(system: System, effects: Effects) -> None:
    relays = [system.relay(release=release) for release in ("a", "b")]
    system.worker(concurrency=4)
    wait_until(lambda: effects.count("reliable_tally_mark"), "the first mark")
    for round_ in range(6):
        for number in range(30):
            effect.delay(f"job {round_} {number}", 0.01)
        if round_ == 0:
            kill_own_process.delay("poison")
        relay = relays[round_ % 2]
        relay.kill()
        relay.wait()
        relay.start()
        effects.wait_for_end()
    statement = "SELECT kind, sum(count)::int FROM reliable_tally GROUP BY kind"
    # The last one is the job that on_failed= made.
    expected = {"ran": 180 + 1, "waited": 180 + 1, "failed": 2, "dead": 1}
    last = effects.now()
    reached = "SELECT extract(epoch FROM until)::float FROM reliable_tally_mark"
    wait_until(lambda: effects.ask(reached)[0][0] > last, "the tally", timeout=40)
    assert dict(effects.ask(statement)) == expected


# --- Keeping -------------------------------------------------------------------------------------


def tasks_left() -> set[str]:
    return set(Job.objects.values_list("task", flat=True))


def purge() -> None:
    duties = Duties()
    mark(0)
    duties._purge()  # noqa: SLF001
    duties.session.close()


def test_a_task_says_how_long_its_jobs_are_kept(session: Session, settings: Any) -> None:
    settings.RELIABLE_JOBS_KEPT = {
        "succeeded": 5 * DAY,
        "long.kept": 365 * DAY,
        "soon.gone": {"succeeded": 3600},
    }
    for name, days, state in (
        ("usual.old", 6, "succeeded"),
        ("usual.new", 4, "succeeded"),
        ("long.kept", 300, "failed"),
        ("soon.gone", 1, "succeeded"),
        ("soon.gone", 31, "cancelled"),
        ("usual.failed", 80, "failed"),
    ):
        job = ended(days * DAY, task=name, state=state)
        Attempt.objects.create(job=job, claim_no=1, outcome=Outcome.FAILED, counted=True)
    purge()
    assert tasks_left() == {"usual.new", "long.kept", "usual.failed"}
    assert Attempt.objects.count() == 3


def test_nothing_goes_before_it_was_counted(session: Session) -> None:
    ended(8 * DAY)
    duties = Duties()
    mark(9 * DAY)
    duties._purge()  # noqa: SLF001
    assert Job.objects.exists()
    mark(0)
    duties._purge()  # noqa: SLF001
    duties.session.close()
    assert not Job.objects.exists()


def test_what_lies_behind_the_walk_goes_with_the_next_one(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    [walk] = [each for each in retention.walks() if each.state == "cancelled"]
    mark(0)
    ended(40 * DAY, state="cancelled")
    walk.step(session)
    assert not Job.objects.exists()
    ended(41 * DAY, state="cancelled")  # failed then, and was discarded now
    walk.step(session)
    assert Job.objects.exists()
    monkeypatch.setattr(retention, "_WALK_AGAIN", 0)
    walk.step(session)
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        ({"succeded": 1}, "'succeded' is no state in which a job ends"),
        ({"a.task": {"running": 1}}, "'running' is no state in which a job ends"),
        ({"succeeded": "7 days"}, "'7 days' is no number of seconds"),
        ({"a.task": -1}, "-1 is no number of seconds"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: Any, kept: dict[str, Any], says: str) -> None:
    settings.RELIABLE_JOBS_KEPT = kept
    with pytest.raises(ImproperlyConfigured, match=says):
        retention.walks()
