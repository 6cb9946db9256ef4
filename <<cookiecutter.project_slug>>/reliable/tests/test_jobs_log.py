"""Each transition of a job is one line of the log, with its ids and without a secret."""

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.testing import capture_logs

from reliable.jobs import Discard, JobHandle, Snooze, durable_task, runner, transitions
from reliable.jobs.database import Session
from reliable.jobs.models import Job
from reliable.testing.run_jobs import run_jobs

WORKER = uuid.uuid4()


@durable_task(queue="default", max_attempts=2, backoff=0, secret=["token"])
def act(does: str, token: str = "") -> None:
    match does:
        case "fails":
            raise ValueError(f"{token} was refused")
        case "snoozes":
            raise Snooze(60)
        case "discards":
            raise Discard("nobody wants it")
        case "loses its claim":
            with connection.cursor() as cursor:
                cursor.execute("UPDATE reliable_job SET claim_no = claim_no + 1")


def call(does: str) -> JobHandle:
    with bound_contextvars(request_id="from-the-web"):
        return act.delay(does, token="hunter2hunter2")


def lines_of(happens: Callable[[], Any]) -> list[dict[str, Any]]:
    """What is logged meanwhile, and that nothing of it is secret."""
    with capture_logs(processors=[merge_contextvars]) as lines:
        happens()
    assert "hunter2" not in json.dumps(lines, default=str)
    return [dict(line) for line in lines]


RAN = [
    ("ends", [("info", "job.started"), ("info", "job.succeeded")]),
    ("fails", [("info", "job.started"), ("warning", "job.waits_again")]),
    ("snoozes", [("info", "job.started"), ("info", "job.waits_again")]),
    ("discards", [("info", "job.started"), ("info", "job.discarded")]),
    ("loses its claim", [("info", "job.started"), ("warning", "job.claim_lost")]),
]


@pytest.mark.parametrize(("does", "expected"), RAN, ids=[does for does, _ in RAN])
def test_an_attempt_is_a_line_for_its_start_and_one_for_its_end(
    db: None, does: str, expected: list[tuple[str, str]]
) -> None:
    job = call(does)
    lines = lines_of(lambda: runner.run(job.id, WORKER))
    assert [(line["log_level"], line["event"]) for line in lines] == expected
    ids = {"job_id": str(job.id), "task": act.name, "queue": "default"}
    for line in lines:
        assert (ids | {"request_id": "from-the-web"}).items() <= line.items()


def test_a_failure_says_why_how_often_and_when_it_is_tried_again(db: None) -> None:
    call("fails")
    [_, again, _, failed] = lines_of(lambda: run_jobs(raise_errors=False))
    why = {"outcome": "failed", "reason": "ValueError: [redacted] was refused"}
    assert (why | {"attempts": "1/2", "seconds": 0.0}).items() <= again.items()
    assert (why | {"attempts": "2/2"}).items() <= failed.items()
    assert (failed["log_level"], failed["event"]) == ("error", "job.failed")


def expire(job: JobHandle) -> None:
    session = Session()
    try:
        transitions.expire(session, 10)
    finally:
        session.close()


CHANGED: list[tuple[str, str, Callable[[JobHandle], Any]]] = [
    ("job.cancelled", "waiting", lambda job: job.cancel("too late")),
    ("job.retried", "failed", lambda job: job.retry()),
    ("job.discarded", "failed", lambda job: transitions.discard([job.id], "a test order")),
    ("job.expired", "waiting", expire),
]


@pytest.mark.parametrize(("event", "state", "change"), CHANGED, ids=[each for each, *_ in CHANGED])
def test_what_is_done_to_a_job_is_a_line(
    transactional_db: None, event: str, state: str, change: Callable[[JobHandle], Any]
) -> None:
    job = call("ends")
    ended = timezone.now() if state == "failed" else None
    Job.objects.update(
        state=state, finished_at=ended, expires_at=timezone.now() - timedelta(seconds=1)
    )
    [line] = lines_of(lambda: change(job))
    ids = {"job_id": str(job.id), "task": act.name, "queue": "default"}
    assert (ids | {"event": event, "request_id": "from-the-web"}).items() <= line.items()
    assert lines_of(lambda: change(job)) == []  # it was done
