"""docs/how-to is true: its Python runs, its commands are understood, its links lead somewhere."""

import importlib
import json
import re
import shlex
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import django
import pytest
from celery import current_app
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from reliable import schedule
from reliable.jobs import State, ids
from reliable.jobs.durable import DEBOUNCED_AT_MOST, registry
from reliable.jobs.models import Job
from reliable.jobs.moving import of_plain
from reliable.jobs.schedule import calls
from reliable.testing.run_jobs import run_jobs

PROJECT = Path(django_settings.SUPERVISOR["directory"])
FOLDER = PROJECT / "docs" / "how-to"
PAGES = sorted(FOLDER.glob("*.md"))
INDEX = (FOLDER / "README.md").read_text(encoding="utf-8")
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Load = Callable[[str, int], Any]


def blocks(page: str, language: str) -> list[str]:
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    return [code for each, code in FENCED.findall(text) if each == language]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import a page's Python block, as a module of its own; its tasks go with the test."""
    before, plain = dict(registry), set(current_app.tasks)
    loaded: list[str] = []
    monkeypatch.syspath_prepend(tmp_path)

    def load(page: str, number: int) -> ModuleType:
        name = f"{page.replace('-', '_')}_{number}"
        code = blocks(page, "python")[number]
        if django.VERSION >= (6, 0):
            code = code.replace("from django_tasks import", "from django.tasks import")
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        importlib.invalidate_caches()
        loaded.append(name)
        return importlib.import_module(name)

    yield load
    for name in loaded:
        del sys.modules[name]
    registry.clear()
    registry.update(before)
    for name in set(current_app.tasks) - plain:
        current_app.tasks.pop(name)


def later() -> int:
    """Run what is due by tomorrow, retries among it."""
    return run_jobs(at=timezone.now() + timedelta(days=1), raise_errors=False)


# --- All pages -----------------------------------------------------------------------------------


def test_the_index_lists_each_page_under_its_title() -> None:
    listed = {name: title for title, name in re.findall(r"\[([^]]+)\]\(([\w-]+\.md)\)", INDEX)}
    titles = {
        page.name: page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        for page in PAGES
        if page.name != "README.md"
    }
    assert listed == titles


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_begins_with_its_failure_and_is_short(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("\n") < 90
    if page.name != "README.md":
        assert text.split("\n\n")[1].startswith("**")
        assert "**Mind:**" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    made = {"config/settings/tasks.py"}  # by the reader
    named = set(re.findall(r"`((?:config|docs|reliable|shop|tests)/[\w./-]*)`", page.read_text()))
    assert [name for name in named - made if not (PROJECT / name).exists()] == []


COMMANDS = [
    (page.stem, line)
    for page in PAGES
    for code in blocks(page.stem, "sh")
    for line in code.splitlines()
    if line.startswith("python manage.py ")
]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_does_what_the_page_says(db: None, page: str, line: str) -> None:
    """Each is run with a failed job that its filters mean."""
    job = Job.objects.create(
        id=ids.new(),
        task="orders.tasks.ship",
        queue="mail",
        state=State.FAILED,
        finished_at=timezone.now() - timedelta(hours=1),
        error="ValueError: 7 is no number: the warehouse is away",
    )
    old = uuid.UUID("01a211ab-2f03-71db-875e-a95714377958")
    Job.objects.filter(pk=job.pk).update(id=old)
    Job.objects.create(id=ids.new(), task="accounts.tasks.greet", queue="mail")
    out = StringIO()

    words = shlex.split(line)[2:]
    if "--until" in words:
        Job.objects.update(finished_at=None, state=State.WAITING)
        Job.objects.filter(pk=old).update(state=State.FAILED, finished_at="2026-01-01T00:00Z")
    with nullcontext() if words[:2] != ["schedule", "list"] else pytest.raises(SystemExit):
        call_command(*words, stdout=out, stderr=out)  # without a beat, that list ends with 1

    said = out.getvalue()
    state = Job.objects.values_list("state", flat=True).get(pk=old)
    if "--dry-run" in words:
        assert "1 job would be retried. Nothing was changed." in said
    elif words[1] in {"retry", "discard"}:
        assert state == {"retry": State.WAITING, "discard": State.CANCELLED}[words[1]]
    elif words[0] == "jobs" and words[1] in {"list", "show"}:
        task = "accounts.tasks.greet" if "accounts.tasks.greet" in words else "orders.tasks.ship"
        assert task in said
        assert "no job" not in said.lower()
    else:
        assert said


PYTHON = [
    (page.stem, number, code)
    for page in PAGES
    for number, code in enumerate(blocks(page.stem, "python"))
]


@pytest.mark.parametrize(("page", "number", "code"), PYTHON)
def test_a_block_passes_the_projects_own_lint(page: str, number: int, code: str) -> None:
    file = code.partition("\n")[0].removeprefix("# ").partition(":")[0]
    for command in (["check", "--quiet", "--no-cache"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(PROJECT / file), "-"],
            cwd=PROJECT,
            input=code,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


# --- Each page's Python --------------------------------------------------------------------------


def test_scheduling(db: None, load: Load) -> None:
    assert len(schedule.validate(load("scheduling", 0).SCHEDULE, "Europe/Berlin")) == 2
    report = load("scheduling", 1).report_the_day_before
    entry = schedule.Entry(report.name, schedule.crontab("0 1 * * *"))
    job = calls.insert("daily", entry, datetime(2026, 1, 31, 1, tzinfo=UTC))
    run_jobs()
    assert Job.objects.get(pk=job).result == "the report of 2026-01-30"


@pytest.fixture
def provider() -> Iterator[HTTPServer]:
    """Charges each key once, and drops the first answer."""
    charges: dict[str, int] = {}
    keys: list[str] = []

    class Provider(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key = self.headers["Idempotency-Key"]
            keys.append(key)
            charges.setdefault(key, body["amount"])
            if len(keys) == 1:
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"id": f"charge-{key}"}).encode())

        def log_message(self, *args: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Provider)
    server.charges, server.keys = charges, keys  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_lost_answer_is_asked_for_again_under_the_same_key(
    db: None, load: Load, settings: Settings, provider: Any
) -> None:
    settings.PAYMENT_URL = f"http://127.0.0.1:{provider.server_port}"
    handle = load("retries-and-idempotency", 0).charge.delay(7, 1999)
    assert later() == 2
    assert provider.charges == {str(handle.id): 1999}
    assert provider.keys == [str(handle.id)] * 2
    assert handle.result == f"charge-{handle.id}"


@pytest.mark.parametrize(
    ("days", "state", "error"),
    [
        (-1, State.SUCCEEDED, ""),
        (1, State.CANCELLED, "That day has not begun."),
        (0, State.WAITING, "again in 3600 s"),
    ],
)
def test_not_every_end_is_a_failure(
    db: None, load: Load, days: int, state: State, error: str
) -> None:
    day = timezone.localdate() + timedelta(days=days)
    load("retries-and-idempotency", 1).close_books.delay(day.isoformat())
    run_jobs(raise_errors=False)
    job = Job.objects.get()
    assert (job.state, job.attempt, job.error) == (state, 0, error)


def test_what_no_repetition_cures_fails_at_once(db: None, load: Load) -> None:
    load("retries-and-idempotency", 1).close_books.delay("yesterday")
    run_jobs(raise_errors=False)
    assert Job.objects.get().state == State.FAILED


def test_an_import_goes_on_after_its_last_step(db: None, load: Load, tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    names = [f"user-{number}" for number in range(1200)]
    broken = [*names[:700], names[0], *names[701:]]
    file.write_text("\n".join(["username", *broken]))
    handle = load("long-work-in-steps", 0).import_users.delay(str(file))

    run_jobs(raise_errors=False)
    assert User.objects.count() == 500
    assert Job.objects.get().checkpoint == 500
    file.write_text("\n".join(["username", *names]))
    later()

    assert handle.result == 1200
    assert set(User.objects.values_list("username", flat=True)) == set(names)


def test_one_is_enough(db: None, load: Load) -> None:
    tasks = load("unique-and-debounce", 0)
    for task in (tasks.refresh_totals, tasks.index_user, tasks.synchronize):
        assert [task.delay(7).created for _ in range(3)] == [True, False, False]
    [(due, queued)] = Job.objects.filter(task=tasks.index_user.name).values_list(
        "run_at", "created_at"
    )
    assert round((due - queued).total_seconds()) == 30
    assert f"{30 * DEBOUNCED_AT_MOST} s after" in (FOLDER / "unique-and-debounce.md").read_text()
    assert run_jobs() == 2
    tasks.index_user.apply_async([7], countdown=0)
    assert run_jobs() == 1
    tasks.refresh_totals.delay(7)
    assert tasks.refresh_totals.delay(user_id=7).created


def test_the_tests_of_the_page_pass(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    [code] = blocks("testing", "python")
    file = tmp_path / "test_of_the_page.py"
    file.write_text(code, encoding="utf-8")
    options = ["-c", str(PROJECT / "pyproject.toml"), "-p", "no:cacheprovider", "--rootdir"]
    warnings = [f"-W{each}" for each in pytestconfig.getoption("pythonwarnings") or ()]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *warnings, *options, str(PROJECT), str(file)],
        cwd=PROJECT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_a_task_that_moves_keeps_its_name_and_its_rows(db: None, load: Load) -> None:
    load("moving-a-task", 0)
    plain = of_plain("accounts.tasks.greet")
    assert plain is not None
    moved = load("moving-a-task", 1).greet
    assert moved.name == plain.name
    moved.delay(7)
    del registry[moved.name]  # rolled back, with the row in the table
    assert run_jobs() == 1
    assert Job.objects.get().state == State.SUCCEEDED


def test_tasks_of_djangos_api_are_jobs(
    db: None, load: Load, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TASKS = load("django-tasks", 0).TASKS
    api = load("django-tasks", 1)
    monkeypatch.setitem(sys.modules, "accounts.api", api)
    with transaction.atomic():
        views = load("django-tasks", 2)
    assert run_jobs() == 2
    views.counted.refresh()
    views.greeted.refresh()
    assert views.counted.return_value == 0
    assert views.greeted.return_value == "attempt 1 for user 7"
    greeted = Job.objects.get(queue="mail")
    assert (greeted.priority, greeted.atomic, greeted.max_attempts) == (7, False, 8)
