"""The daily loop: what `make dev`, `make services` and `make fg` promise a developer."""

import os
import pty
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from django.conf import settings

from reliable.testing.checkout import Checkout
from reliable.testing.processes import Process
from reliable.testing.waiting import wait_until


@pytest.fixture(scope="module")
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.fixture(scope="module")
def dev(checkout: Checkout, taken_port: int) -> Iterator[Process]:
    """`make dev`, ready."""
    process = checkout.start("dev", "--port", str(taken_port))
    try:
        process.wait_for_output("the site is at", timeout=60)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


def address(dev: Process) -> str:
    line = next(line for line in dev.output.splitlines() if "the site is at" in line)
    return line.split()[-1]


def fetch(url: str) -> tuple[int, str]:
    """Status and body; 0 where nobody listens."""
    parts = urlsplit(url)
    with closing(HTTPConnection(parts.netloc, timeout=10)) as site:
        try:
            site.request("GET", parts.path)
            answer = site.getresponse()
            return answer.status, answer.read().decode()
        except OSError as error:
            return 0, str(error)


def test_a_taken_port_is_replaced_by_a_free_one_and_said(dev: Process, taken_port: int) -> None:
    assert f"Port {taken_port} is taken: the site is on {taken_port + 1} instead." in dev.output
    assert address(dev) == f"http://127.0.0.1:{taken_port + 1}/"


def test_the_running_stack_serves_the_admin_and_its_css(dev: Process) -> None:
    status, page = fetch(address(dev) + "admin/login/")
    assert status == 200
    assert "/static/admin/css/base.css" in page
    status, css = fetch(address(dev) + "static/admin/css/base.css")
    assert status == 200
    assert "--primary" in css


def test_each_line_says_which_program_wrote_it(dev: Process) -> None:
    names = {line.split("|")[0].strip() for line in dev.output.splitlines() if "|" in line}
    workers = {f"worker-{queue}" for queue in settings.QUEUES}
    assert {"dev", "web", "beat", *workers} <= names


def test_a_second_start_names_the_first(checkout: Checkout, dev: Process) -> None:
    second = checkout.manage("dev")
    assert second.returncode == 1, second.stdout
    assert "already runs in another terminal" in second.stdout
    assert dev.alive


def test_a_saved_file_reaches_the_web_and_the_workers(checkout: Checkout, dev: Process) -> None:
    ready = dev.output.count(" ready.")
    url = address(dev) + "new-page/"
    assert fetch(url)[0] == 404
    checkout.append(
        "config/urls.py",
        "\nfrom django.http import HttpResponse\n"
        'urlpatterns.append(path("new-page/", lambda request: HttpResponse("here")))\n',
    )
    wait_until(lambda: fetch(url) == (200, "here"), "the new page", saw=lambda: fetch(url))
    dev.wait_for_output(" ready.", count=ready + len(settings.QUEUES))


def test_a_syntax_error_is_shown_and_the_next_save_recovers(
    checkout: Checkout, dev: Process
) -> None:
    tasks = checkout.directory / "accounts" / "tasks.py"
    correct = tasks.read_text()
    ready = dev.output.count(" ready.")
    tasks.write_text(correct + "\ndef broken(:\n")
    dev.wait_for_output("not reloaded: accounts/tasks.py:")
    assert fetch(address(dev) + "admin/login/")[0] == 200
    tasks.write_text(correct)
    dev.wait_for_output(" ready.", count=ready + len(settings.QUEUES))


def test_an_error_at_import_is_shown_and_the_next_save_recovers(
    checkout: Checkout, dev: Process
) -> None:
    tasks = checkout.directory / "accounts" / "tasks.py"
    correct = tasks.read_text()
    ended = dev.output.count("the next save starts it again")
    tasks.write_text(correct + "\nundefined_name\n")
    dev.wait_for_output("NameError: name 'undefined_name' is not defined")
    dev.wait_for_output("the next save starts it again", count=ended + len(settings.QUEUES))
    ready = dev.output.count(" ready.")
    tasks.write_text(correct)
    dev.wait_for_output(" ready.", count=ready + len(settings.QUEUES))
    wait_until(lambda: fetch(address(dev) + "admin/login/")[0] == 200, "the site")


def test_a_new_queue_gets_its_worker_with_one_edit(checkout: Checkout, dev: Process) -> None:
    checkout.append(
        "config/queues.yml",
        "\nreports:\n  purpose: the sums of a night\n  concurrency: 1\n  soft_time_limit: 50\n"
        "  time_limit: 60\n  latency: {warn: 30, critical: 120}\n",
    )
    dev.wait_for_output("reports-dev@")


def test_a_breakpoint_in_a_task_has_a_terminal(checkout: Checkout, dev: Process) -> None:
    checkout.append(
        "accounts/tasks.py",
        '\n\n@shared_task\ndef stop_here() -> None:\n    answer = "found"\n    breakpoint()\n',
    )
    controller, terminal = pty.openpty()
    worker = subprocess.Popen(
        [sys.executable, "manage.py", "fg", "worker-default"],
        cwd=checkout.directory,
        env={**checkout.environment, "PYTHON_COLORS": "0"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    seen = ""

    def read_until(text: str) -> None:
        nonlocal seen
        deadline = time.monotonic() + 30
        while text not in seen:
            readable, _, _ = select.select([controller], [], [], 1)
            if readable:
                seen += os.read(controller, 4096).decode(errors="replace")
            assert time.monotonic() < deadline, f"no {text!r} in {seen}"

    try:
        read_until(" ready.")
        sent = checkout.manage(
            "shell", "-c", "from accounts.tasks import stop_here; stop_here.delay()"
        )
        assert sent.returncode == 0, sent.stderr
        read_until("(Pdb)")
        seen = ""
        os.write(controller, b"print(answer * 2)\n")
        read_until("foundfound")
        os.write(controller, b"continue\n")
        read_until("succeeded")
    finally:
        worker.terminate()
        worker.wait(timeout=30)
        os.close(controller)
