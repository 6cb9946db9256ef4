"""Errors reach a Sentry once, with the ids of the log lines, and without a task's arguments."""

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from structlog.contextvars import bound_contextvars

from reliable.jobs import State
from reliable.sentry import report_errors
from reliable.testing import jobs
from reliable.testing.effects import Effects
from reliable.testing.jobs import fail_always
from reliable.testing.system import System
from reliable.testing.tasks import fail, kill_own_process, nap, retry_once_in_a_transaction
from reliable.testing.waiting import wait_until
from reliable.tests.limited import limited_worker

# Settings and URLs in one module: a project whose one page raises.
BROKEN = """
from {settings} import *
from django.urls import path

def page(request):
    raise ValueError("no page today")

ROOT_URLCONF = __name__
urlpatterns = [path("", page)]
"""


class Sentry:
    """A server that takes Sentry's envelopes, and keeps the error events in them."""

    def __init__(self) -> None:
        received = self.events = list[dict[str, Any]]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                items = [json.loads(line) for line in body.splitlines() if line.startswith(b"{")]
                received.extend(
                    item for item in items if {"exception", "logentry", "message"} & set(item)
                )
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.dsn = f"http://key@127.0.0.1:{self.server.server_port}/1"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    sentry = Sentry()
    yield sentry
    sentry.close()


def test_a_tasks_exception_is_reported_once_with_the_ids_and_no_argument(
    system: System, sentry: Sentry
) -> None:
    system.environment["SENTRY_DSN"] = sentry.dsn
    worker = system.worker(release="r7", concurrency=1)
    with bound_contextvars(request_id="from-the-web"):
        task_id = fail.delay("hunter2secret").id
    retry_once_in_a_transaction.delay("a retry is no error")
    nap.delay("last")
    wait_until(lambda: "last" in system.events.of("end"), "the last task")
    # What is still to be sent is sent before the end.
    worker.terminate()
    worker.wait()

    [event] = sentry.events
    assert event["release"] == "r7"
    expected = {"request_id": "from-the-web", "task_id": task_id, "queue": "default"}
    assert expected.items() <= event["tags"].items()
    assert (event["tags"]["attempt"], event["tags"]["process"]) == ("1", "worker-default")
    assert event["exception"]["values"][0]["value"] == "[redacted] is wrong"
    assert "hunter2" not in json.dumps(event)


def test_a_failed_job_is_reported_once_with_its_ids_and_no_secret(
    system: System, sentry: Sentry
) -> None:
    system.environment["SENTRY_DSN"] = sentry.dsn
    system.relay()
    worker = system.worker(release="r7", concurrency=1)
    with bound_contextvars(request_id="from-the-web"):
        handle = fail_always.delay("hunter2secret")
    wait_until(lambda: handle.state == State.FAILED, "the last attempt")
    worker.terminate()
    worker.wait()

    assert len(system.events.of("fail")) == 2
    [event] = sentry.events
    assert {"request_id": "from-the-web", "job_id": str(handle.id), "attempt": "2"}.items() <= (
        event["tags"].items()
    )
    assert event["exception"]["values"][0]["value"] == "[redacted] is wrong"
    assert "hunter2" not in json.dumps(event) + worker.output


def test_a_job_that_died_with_its_process_is_reported_once_with_its_id(
    system: System, effects: Effects, sentry: Sentry
) -> None:
    system.environment["SENTRY_DSN"] = sentry.dsn
    system.relay()
    worker = system.worker(release="r7", concurrency=1)
    handle = jobs.kill_own_process.delay("poison")
    wait_until(lambda: handle.state == State.FAILED, "the last attempt")
    worker.terminate()
    worker.wait()

    [event] = sentry.events
    assert event["tags"]["job_id"] == str(handle.id)
    assert "kill_own_process has failed: Worker exited prematurely" in json.dumps(event)


@pytest.mark.parametrize(
    ("send", "limit", "error"),
    [
        (lambda: kill_own_process.delay("poison"), 60, "WorkerLostError"),
        (lambda: nap.delay("long", 60.0), 1, "TimeLimitExceeded"),
    ],
    ids=["process", "time"],
)
def test_a_task_lost_with_its_process_or_its_time_is_reported_once_with_the_ids(
    system: System, sentry: Sentry, send: Callable[[], Any], limit: int, error: str
) -> None:
    system.environment["SENTRY_DSN"] = sentry.dsn
    worker = limited_worker(system, seconds=limit)
    with bound_contextvars(request_id="from-the-web"):
        task_id = send().id
    worker.wait_for_output("Task handler raised error")
    worker.terminate()
    worker.wait()

    [event] = sentry.events
    assert event["exception"]["values"][-1]["type"] == error
    assert {"request_id": "from-the-web", "task_id": task_id}.items() <= event["tags"].items()


def test_a_requests_exception_is_reported_once_with_the_id_of_its_line(
    system: System, sentry: Sentry, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(BROKEN.format(settings=settings.SETTINGS_MODULE))
    system.environment |= {
        "SENTRY_DSN": sentry.dsn,
        "DJANGO_SETTINGS_MODULE": "broken",
        "PYTHONPATH": str(tmp_path),
    }
    web = system.web(release="r7")
    assert system.get("/?token=hunter2").status == 500
    wait_until(lambda: sentry.events, "the report")
    # gunicorn's parent logs it as an error, and reports nothing.
    web.children()[0].kill()
    web.wait_for_output("SIGKILL")
    # Its next process has to be there: one that is just forked does not hear the TERM.
    assert system.get("/nothing").status == 404
    web.terminate()
    web.wait()

    [event] = sentry.events
    [failed] = [line for line in map(json.loads, web.output.splitlines()) if "exception" in line]
    exception = event["exception"]["values"][-1]
    assert (exception["value"], exception["mechanism"]["type"]) == ("no page today", "django")
    assert event["tags"]["request_id"] == failed["request_id"]
    assert (event["tags"]["process"], event["release"]) == ("web", "r7")
    assert "hunter2" not in json.dumps(event)


def test_a_sentry_that_is_away_delays_neither_task_nor_stop(system: System) -> None:
    system.environment["SENTRY_DSN"] = "http://key@127.0.0.1:1/1"
    worker = system.worker(concurrency=1)
    fail.delay("hunter2secret")
    nap.delay("last")
    wait_until(lambda: "last" in system.events.of("end"), "the last task", timeout=5)
    worker.terminate()

    assert worker.wait(timeout=10) == 0


def test_an_address_that_is_none_is_refused_without_its_secret() -> None:
    with pytest.raises(ImproperlyConfigured, match="SENTRY_DSN is no address") as error:
        report_errors("https://hunter2@/nothing", release="r7")
    assert "hunter2" not in str(error.value)
