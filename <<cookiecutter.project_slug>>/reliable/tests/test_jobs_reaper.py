"""What a relay takes from a worker that lives, as the claim says how long it may take."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from reliable.jobs import State
from reliable.jobs.database import Session
from reliable.jobs.duties import Reaper
from reliable.jobs.models import Attempt, Job, Worker
from reliable.testing.jobs import note
from reliable.testing.waiting import wait_until


@pytest.fixture
def reaper(transactional_db: None) -> Iterator[Reaper]:
    session = Session()
    yield Reaper(session)
    session.close()


@pytest.fixture
def body(transactional_db: None) -> Iterator[Any]:
    """The session of a body that is still at it."""
    other = connection.copy()
    other.ensure_connection()
    yield other
    other.close()


def beats(worker: Worker, reaper: Reaper) -> None:
    """It beats, and the reaper looks."""
    Worker.objects.filter(pk=worker.pk).update(beat=timezone.now().microsecond)
    reaper.look()
    reaper.take()


def test_a_job_past_its_deadline_is_taken_from_a_worker_that_beats_and_its_locks_with_it(
    reaper: Reaper, body: Any
) -> None:
    late, in_time = note.delay("late"), note.delay("in time")
    worker = Worker.objects.create(id=uuid.uuid4(), name="a", queues=["default"], slots=2)
    started = timezone.now()
    for job, seconds in ((late, 1), (in_time, 3600)):
        Job.objects.filter(pk=job.id).update(
            state=State.RUNNING,
            claim_no=1,
            worker=worker.pk,
            started_at=started,
            deadline_at=started + timedelta(seconds=seconds),
        )
    with body.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    Job.objects.filter(pk=late.id).update(backend=pid)

    def taken() -> bool:
        beats(worker, reaper)
        return late.state == State.WAITING

    wait_until(taken, "the end of its claim")
    attempt = Attempt.objects.get()
    assert (attempt.job_id, attempt.outcome, attempt.counted) == (late.id, "timed out", True)
    assert in_time.state == State.RUNNING
    with pytest.raises(OperationalError), body.cursor() as cursor:
        cursor.execute("SELECT 1")
