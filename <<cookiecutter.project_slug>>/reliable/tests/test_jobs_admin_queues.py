"""The admin of queues: paused, resumed and limited, with who, why and until when."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from reliable.jobs import operations
from reliable.jobs.models import Queue
from reliable.tests.pages import JOBS, QUEUES, a_job, seen
from reliable.tests.staff import words


def operate(client: Client, operation: str, queue: str = "mail", **data: str) -> str:
    answer = client.post(
        f"{QUEUES}operate/", {"operation": operation, "queue": queue, **data}, follow=True
    )
    return " ".join(str(message) for message in answer.context["messages"])


def test_a_queue_is_paused_with_who_why_and_until_when_and_resumed(operator: Client) -> None:
    assert "is paused until 2" in operate(operator, "pause", why="it is down", end="2h")
    queue = Queue.objects.get()
    assert (queue.paused_by, queue.paused_why) == ("ada", "it is down")
    assert queue.paused_at
    assert queue.paused_until
    assert round((queue.paused_until - queue.paused_at).total_seconds()) == 7200
    assert re.search(r"Paused since .* by ada \(it is down\), until", words(seen(operator, QUEUES)))
    assert "The queue mail is paused" in words(seen(operator, JOBS))
    assert "goes on" in operate(operator, "resume")
    assert not operations.paused()
    assert [line.change_message[:20] for line in LogEntry.objects.order_by("id")] == [
        "The queue mail is pa",
        "The queue mail goes ",
    ]


def test_a_limit_is_set_and_removed(operator: Client) -> None:
    assert "at most 3 run at once" in operate(operator, "limit", limit="3")
    assert Queue.objects.get().limit == 3
    assert "of at most 3" in words(seen(operator, QUEUES))
    assert "no limit" in operate(operator, "limit", limit="")
    assert Queue.objects.get().limit is None


def test_what_a_queue_holds_is_counted(viewer: Client) -> None:
    ago = timezone.now() - timedelta(minutes=5)
    a_job("waiting", run_at=ago)
    a_job("waiting", published_at=ago, run_at=ago)
    a_job("waiting", run_at=timezone.now() + timedelta(hours=1))
    a_job("running")
    page = words(seen(viewer, QUEUES))
    assert re.search(r"2 due in mail oldest 5 min ago running 1 ", page), page


@pytest.mark.parametrize(
    ("operation", "data", "reason"),
    [
        ("pause", {"queue": "mial"}, "not declared; declared: critical, mail"),
        ("pause", {"end": "soon"}, "no duration; write for example 90s"),
        ("pause", {"end": "2001-01-01T00:00"}, "not in the next ten years"),
        ("limit", {"limit": "many"}, "no number; write for example 4"),
        ("limit", {"queue": "mial", "limit": "3"}, "not declared"),
        ("burn", {}, "no such operation"),
    ],
)
def test_bad_input_for_a_queue_is_refused(
    operator: Client, operation: str, data: dict[str, str], reason: str
) -> None:
    assert reason in operate(operator, operation, **data)
    assert not Queue.objects.exists()
    assert not LogEntry.objects.exists()
