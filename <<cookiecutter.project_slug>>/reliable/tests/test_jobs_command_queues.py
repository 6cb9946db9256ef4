"""`manage.py jobs pause|resume|limit`: what operators say about a queue."""

import re

import pytest
from django.utils import timezone
from structlog.testing import capture_logs

from reliable.jobs import State, sql
from reliable.jobs.database import Session
from reliable.jobs.models import Job, Queue
from reliable.testing.run_jobs import run_jobs
from reliable.tests.commands import a_job, jobs, machine
from reliable.tests.staff import state_of


def test_a_paused_queue_starts_nothing_until_it_is_resumed(db: None) -> None:
    job = a_job()
    jobs("pause", "mail", "--why", "the provider is down", "--by", "ada", "--for", "2h")
    with pytest.raises(AssertionError, match="its queue is paused"):
        run_jobs()
    queue = Queue.objects.get()
    assert (queue.paused_by, queue.paused_why) == ("ada", "the provider is down")
    assert queue.paused_at
    assert queue.paused_until
    assert round((queue.paused_until - queue.paused_at).total_seconds()) == 7200
    assert "goes on; it was paused since" in jobs("resume", "mail", "--by", "grace")
    run_jobs()
    assert state_of(job) == State.SUCCEEDED
    assert jobs("resume", "mail") == "The queue mail was not paused.\n"


def test_the_log_says_who_paused_and_who_resumed(db: None) -> None:
    with capture_logs() as lines:
        jobs("pause", "mail", "--why", "it is down", "--by", "ada")
        jobs("resume", "mail", "--by", "grace")
    assert lines == [
        {
            "event": "queue.paused",
            "log_level": "info",
            "queue": "mail",
            "by": "ada",
            "why": "it is down",
        },
        {"event": "queue.resumed", "log_level": "info", "queue": "mail", "by": "grace"},
    ]


def test_a_pause_that_is_said_again_keeps_its_beginning_and_takes_the_new_end(db: None) -> None:
    first = machine("pause", "mail", "--for", "60")
    second = machine("pause", "mail", "--by", "ada")
    assert second["since"] == first["since"]
    assert (first["until"] is None, second["until"]) == (False, None)
    assert Queue.objects.get().paused_by == "ada"


def test_a_pause_has_somebody_behind_it(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")
    jobs("pause", "mail")
    assert Queue.objects.get().paused_by == "ada"


def test_a_queue_that_is_no_longer_declared_can_still_be_resumed(db: None) -> None:
    Queue.objects.create(name="gone", paused_at=timezone.now())
    assert "goes on" in jobs("resume", "gone")


def test_resume_wakes_the_relays(transactional_db: None) -> None:
    ear = Session()
    ear.execute(f"LISTEN {sql.CHANNEL}")
    jobs("pause", "mail")
    jobs("resume", "mail")
    heard = [notify.payload for notify in ear.raw.notifies(timeout=5, stop_after=1)]
    ear.close()
    assert heard == ["mail"]


def test_a_limit_is_set_shown_changed_and_removed(db: None) -> None:
    assert "No job of the queue mail starts while 1 run. It had none." in jobs("limit", "mail", "1")
    assert re.search(r"Queue mail: nothing waits; 1 may run at once\.", jobs("stats"))
    running = a_job("running", slot=1)
    a_job()
    with pytest.raises(AssertionError, match="or is at its limit"):
        run_jobs()
    with capture_logs() as lines:
        assert machine("limit", "mail", "3", "--by", "ada") == {
            "queue": "mail",
            "limit": 3,
            "before": 1,
        }
    assert lines == [
        {
            "event": "queue.limited",
            "log_level": "info",
            "queue": "mail",
            "by": "ada",
            "limit": 3,
            "before": 1,
        }
    ]
    assert run_jobs() == 1
    assert jobs("limit", "mail", "none") == "The queue mail has no limit. It was 3.\n"
    assert "may run" not in jobs("stats")
    assert state_of(running) == State.RUNNING


def test_what_runs_already_counts_when_a_limit_is_set(db: None) -> None:
    for _ in range(3):
        a_job("running")
    jobs("limit", "mail", "2")
    assert set(Job.objects.values_list("slot", flat=True)) == {3, 4, 5}
    Job.objects.filter(slot__in=[4, 5]).update(
        state="succeeded", finished_at=timezone.now(), worker=None, deadline_at=None
    )
    jobs("limit", "mail", "2")
    a_job()
    assert run_jobs() == 1  # in slot 1 or 2, beside the one in slot 3
