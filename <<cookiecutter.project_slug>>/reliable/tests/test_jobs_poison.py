"""A job that kills its whole worker is found among those that it took with it."""

import os
import threading
import uuid
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from reliable.jobs import State, runner
from reliable.jobs.models import Job
from reliable.testing.effects import Effects
from reliable.testing.jobs import (
    exhaust_memory,
    hang_in_postgresql_once,
    kill_worker,
    note,
    work_until,
)
from reliable.testing.system import System
from reliable.testing.waiting import wait_until
from reliable.tests.locks import somebody_waits


@pytest.mark.chaos
def test_what_kills_its_worker_is_parked_and_whom_it_took_along_is_not_charged(
    system: System, effects: Effects
) -> None:
    system.relay()
    both = system.layout().worker("default", concurrency=2)
    colleague = work_until.delay("colleague", "released")
    supervisord = system.supervised([both])
    wait_until(lambda: system.events.of("start") == ["colleague"], "its start", timeout=30)
    poison = kill_worker.delay("poison")

    # It takes its colleague along, and nobody can tell which of them it was.
    wait_until(
        lambda: effects.attempts(poison.id) == [("worker lost", False)],
        "the reaper",
        timeout=30,
        saw=lambda: effects.attempts(poison.id),
    )
    assert effects.attempts(colleague.id) == [("worker lost", False)]
    # No worker runs two suspects at once: the next death has one cause.
    system.worker(release="b", concurrency=2)
    wait_until(lambda: effects.states.get("failed") == 1, "its end", timeout=60)
    system.events.record("released", "")
    effects.wait_for_end()
    assert effects.attempts(poison.id) == [("worker lost", False), ("worker lost", True)]
    assert effects.attempts(colleague.id) == [("worker lost", False)]
    assert effects.of_job(colleague.id, "attempt, state") == (0, "succeeded")
    assert effects.of_job(poison.id, "attempt, state") == (1, "failed")
    # on_failed, from the relay.
    assert system.events.of("note") == [str(poison.id)]
    assert supervisord.alive()


def test_a_body_without_memory_is_a_failure_and_leaves_its_process_well(
    system: System, effects: Effects
) -> None:
    system.relay()
    worker = system.worker(concurrency=1)
    child = worker.children()[0].pid
    poison = exhaust_memory.delay("exhausts")
    wait_until(lambda: effects.states.get("failed") == 1, "its end", timeout=30)
    assert effects.attempts(poison.id) == [("failed", True)] * 2
    assert [each.pid for each in worker.children()] == [child]
    os.kill(child, 0)


@pytest.mark.parametrize(("harm", "outcome"), [("limit", "timed out"), ("kill", "child lost")])
def test_a_statement_that_hangs_gives_up_its_locks_with_its_body(
    system: System, effects: Effects, harm: str, outcome: str
) -> None:
    """PostgreSQL does not notice by itself that nobody waits for it any more."""
    effects.ask("INSERT INTO purchase (name) VALUES ('wanted')")
    system.relay()
    worker = system.worker(concurrency=1)
    job = hang_in_postgresql_once.delay("wanted")
    if harm == "kill":
        hangs = "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'"
        wait_until(lambda: effects.ask(hangs), "the statement")
        worker.children()[0].kill()
    effects.wait_for_end()
    assert effects.attempts(job.id) == [(outcome, True)]
    assert effects.states == {"succeeded": 1}


def test_a_worker_runs_no_second_suspect_even_if_both_are_claimed_at_once(
    transactional_db: None,
) -> None:
    """What the claim itself does not see, since the other has not committed, an index refuses."""
    first, second = note.delay("a"), note.delay("b")
    Job.objects.update(suspect=True)
    worker = uuid.uuid4()
    running: Any = {"worker": worker, "started_at": timezone.now(), "deadline_at": timezone.now()}
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(
                "UPDATE reliable_job SET state = 'running', worker = %(worker)s,"
                " started_at = %(started_at)s, deadline_at = %(deadline_at)s WHERE id = %(id)s",
                {**running, "id": first.id},
            )
            claims = threading.Thread(target=_claim, args=(second.id, worker))
            claims.start()
            wait_until(somebody_waits, "the second claim")
            cursor.execute("COMMIT")
            claims.join()
    finally:
        other.close()
    assert second.state == State.WAITING


def _claim(job_id: uuid.UUID, worker: uuid.UUID) -> None:
    assert not runner.run(job_id, worker)
    connection.close()
