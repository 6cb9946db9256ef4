"""The lines of a request and of its tasks can be found by one id, and hold no secrets."""

import json
import uuid
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

from celery import chain
from structlog.contextvars import bound_contextvars, get_contextvars

from reliable.testing import tasks
from reliable.testing.processes import Process
from reliable.testing.system import System
from reliable.testing.waiting import wait_until
from reliable.tests.limited import limited_worker

nap: Any = tasks.nap


def lines(process: Process, **fields: object) -> list[dict[str, Any]]:
    """The JSON lines of a process that have these fields, oldest first."""
    every = [json.loads(line) for line in process.lines if line.startswith("{")]
    return [line for line in every if fields.items() <= line.items()]


def ask(system: System, path: str, **headers: str) -> str:
    """Ask for a page, and return the id of the request that the answer names."""
    with closing(HTTPConnection("127.0.0.1", system.port, timeout=10)) as site:
        site.request("GET", path, headers={"X-Forwarded-Proto": "https"} | headers)
        answer = site.getresponse()
        answer.read()
        return str(answer.getheader("X-Request-ID"))


def test_a_chain_is_found_by_the_request_that_sent_it(system: System) -> None:
    worker = system.worker(release="r7")
    with bound_contextvars(request_id="from-the-web"):
        second: Any = chain(nap.si("first"), nap.si("second")).delay()
    wait_until(lambda: len(lines(worker, event="task_succeeded")) == 2, "the end of both")

    started = lines(worker, event="task_started", request_id="from-the-web")
    assert [line["task_id"] for line in started] == [second.parent.id, second.id]
    assert "parent_task_id" not in started[0]
    assert started[1]["parent_task_id"] == second.parent.id
    for line in lines(worker, task=nap.name):
        assert (line["queue"], line["attempt"]) == ("default", 1)
        assert (line["release"], line["process"]) == ("r7", "worker-default")
    assert all(line["duration_ms"] >= 0 for line in lines(worker, event="task_succeeded"))


def test_a_retry_keeps_the_ids_and_counts_the_attempt(system: System) -> None:
    worker = system.worker()
    with bound_contextvars(request_id="from-the-web"):
        task_id = tasks.retry_once_in_a_transaction.delay("a").id
    wait_until(lambda: lines(worker, event="task_succeeded"), "the second attempt")
    # Another process ran the first, which may say so later.
    wait_until(lambda: lines(worker, event="task_retrying"), "the end of the first")

    started = lines(worker, event="task_started", request_id="from-the-web", task_id=task_id)
    assert [line["attempt"] for line in started] == [1, 2]
    assert all("parent_task_id" not in line for line in started)
    [retrying] = lines(worker, event="task_retrying")
    assert (retrying["level"], retrying["attempt"]) == ("warning", 1)


def test_an_exception_is_one_line_with_its_traceback_and_no_argument(system: System) -> None:
    worker = system.worker()
    tasks.fail.delay("hunter2secret")
    wait_until(lambda: lines(worker, event="task_failed"), "the failure")
    nap.delay("after")
    wait_until(lambda: lines(worker, event="task_succeeded"), "the task after it")

    [error] = lines(worker, level="error")
    assert error["event"] == "task_failed"
    assert error["task"] == tasks.fail.name
    assert "in fail" in error["exception"]
    assert "ValueError: [redacted] is wrong" in error["exception"]
    assert "hunter2secret" not in worker.output


def test_what_a_parent_says_of_a_task_whose_process_died_is_found_by_its_request(
    system: System,
) -> None:
    worker = system.worker()
    with bound_contextvars(request_id="from-the-web"):
        tasks.kill_own_process.delay("poison")
    nap.delay("other")
    said_by_parent(worker, "WorkerLostError", lines_of_celery=1)


def test_what_a_parent_says_of_a_task_past_its_limit_is_found_by_its_request(
    system: System,
) -> None:
    worker = limited_worker(system, seconds=1)
    with bound_contextvars(request_id="from-the-web"):
        nap.delay("long", 60.0)
    nap.delay("other")
    said_by_parent(worker, "TimeLimitExceeded", lines_of_celery=2)


def said_by_parent(worker: Process, error: str, *, lines_of_celery: int) -> None:
    """Expect that much of a lost task, each line with its ids, and nothing of them elsewhere."""
    ids = {"request_id": "from-the-web", "queue": "default", "attempt": 1}
    of_celery = {"logger": "celery.worker.request", **ids}
    wait_until(lambda: len(lines(worker, **of_celery)) == lines_of_celery, "the loss")
    wait_until(lambda: lines(worker, event="task_succeeded"), "the end of the other")

    [failed] = lines(worker, event="task_failed", **ids)
    assert error in failed["exception"]
    assert {line["task_id"] for line in lines(worker, **of_celery)} == {failed["task_id"]}
    [succeeded] = lines(worker, event="task_succeeded")
    assert "request_id" not in succeeded
    assert [line for line in worker.output.splitlines() if not line.startswith("{")] == []


def test_gunicorns_own_lines_are_json_too(system: System) -> None:
    web = system.web()
    system.get("/admin/login/")
    web.terminate()
    web.wait()

    said = [json.loads(line) for line in web.output.splitlines()]
    assert {"gunicorn.error"} < {line["logger"] for line in said}
    assert {line["process"] for line in said} == {"web"}
    assert any(line["event"].startswith("Listening at") for line in said)


def test_a_proxys_id_is_kept_and_a_clients_text_is_not(system: System) -> None:
    web = system.web()

    assert ask(system, "/admin/login/?token=hunter2", **{"X-Request-ID": "abc-123"}) == "abc-123"
    made = ask(system, "/admin/login/", **{"X-Request-ID": "x" * 129})
    assert uuid.UUID(made)
    assert ask(system, "/admin/login/") not in {made, ""}

    wait_until(lambda: len(lines(web, event="request_finished")) == 3, "three requests")
    [finished] = lines(web, event="request_finished", request_id="abc-123")
    assert finished["request"] == "GET /admin/login/"
    assert (finished["code"], finished["process"]) == (200, "web")
    assert "hunter2" not in web.output


def test_a_task_run_inside_a_request_leaves_its_ids_alone() -> None:
    with bound_contextvars(request_id="outer"):
        tasks.fail.apply(("secret",))
        assert get_contextvars() == {"request_id": "outer"}
