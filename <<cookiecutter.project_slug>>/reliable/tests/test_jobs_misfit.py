"""A job that this release cannot run waits for one that can, uncounted, and people hear of it."""

import logging
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from reliable.jobs import State, runner
from reliable.jobs.models import Attempt, Job
from reliable.testing.jobs import note
from reliable.testing.system import System
from reliable.testing.waiting import wait_until

WORKER = uuid.uuid4()

MISFITS = [
    pytest.param({"task": "of.another.release"}, "has no durable task of.another", id="unknown"),
    pytest.param({"args": [1, 2, 3]}, "too many positional arguments", id="does not bind"),
]


def run_now(job: Job) -> Job:
    """One attempt, as if its time had come."""
    Job.objects.filter(pk=job.pk).update(run_at=timezone.now())
    assert runner.run(job.pk, WORKER)
    job.refresh_from_db()
    return job


@pytest.mark.parametrize(("change", "reason"), MISFITS)
def test_it_waits_longer_each_time_uncounted_and_alarms(
    transactional_db: None, caplog: pytest.LogCaptureFixture, change: Any, reason: str
) -> None:
    note.delay("a")
    Job.objects.update(**change)
    job = run_now(Job.objects.get())
    for times, seconds in enumerate([1, 2, 4, 8], start=1):
        assert (job.state, job.attempt, job.misfits) == (State.WAITING, 0, times)
        ended = job.attempts.latest("id").ended_at
        assert ended <= job.run_at - timedelta(seconds=seconds) <= timezone.now()
        job = run_now(job)
    assert reason in job.error
    assert set(Attempt.objects.values_list("outcome", "counted")) == {("misfit", False)}
    alarms = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert len(alarms) == 5
    assert all("job.misfit" in each.getMessage() for each in alarms)


@pytest.mark.parametrize(("change", "reason"), MISFITS)
def test_after_a_day_it_has_failed(transactional_db: None, change: Any, reason: str) -> None:
    note.delay("a")
    Job.objects.update(**change)
    job = run_now(Job.objects.get())
    Job.objects.update(misfit_since=timezone.now() - timedelta(hours=25))
    job = run_now(job)
    assert (job.state, job.attempt) == (State.FAILED, 0)
    assert "(for a day)" in job.error


def test_of_two_releases_the_one_that_knows_it_runs_it(system: System) -> None:
    """The old release's worker lacks the module with the task; both read the queue."""
    system.relay()
    old = system.start(system.layout("old").worker("default", concurrency=1))
    old.wait_for_output(" ready.")
    handles = [note.delay(f"job {number}") for number in range(2)]
    wait_until(lambda: Job.objects.filter(misfits__gt=0).count() == 2, "the old release's refusals")
    system.worker(release="new", concurrency=1)
    for handle in handles:
        handle.wait(60)
    assert sorted(system.events.of("note")) == [f"job {number}" for number in range(2)]
    assert set(Attempt.objects.values_list("outcome", "counted")) == {("misfit", False)}
    assert set(Job.objects.values_list("attempt", "release_ran")) == {(0, "new")}
    assert "job.misfit" in old.output
