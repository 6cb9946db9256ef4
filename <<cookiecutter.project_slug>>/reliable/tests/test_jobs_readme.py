"""The README of durable tasks is true: its defaults, its files to copy, its settings."""

import re
import shutil
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from django.conf import settings

from reliable.jobs import arguments, duties, retention, runner, worker
from reliable.jobs.durable import LONGEST_ATOMIC, DurableTask
from reliable.jobs.models import Job
from reliable.testing.system import System
from reliable.testing.waiting import wait_until

ROOT = Path(settings.SUPERVISOR["directory"])
README = (ROOT / "reliable/jobs/README.md").read_text(encoding="utf-8")
COPY = README.split("## Copy it into another project")[1]

# A project that has nothing of this one but what it copied.
SETTINGS = """
import os

import environs

env = environs.Env()
DATABASES = {"default": env.dj_db_url("DATABASE_URL")}
CELERY_BROKER_URL = env.str("BROKER_URL")
SECRET_KEY = "only for a test"
USE_TZ = True
INSTALLED_APPS = ["yours"]
"""
CELERY = """
from celery import Celery

app = Celery("yours")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
TASKS = """
from reliable.jobs import durable_task

@durable_task
def shout(text):
    return text.upper()
"""
CALL = "import django; django.setup(); from yours.tasks import shout; shout.delay('heard')"


@pytest.mark.parametrize(
    "name",
    ["max_attempts", "backoff", "atomic", "batch", "unique", "debounce", "expires", "priority"],
)
def test_it_gives_the_default_of(name: str) -> None:
    [default] = [field.default for field in fields(DurableTask) if field.name == name]
    assert re.search(rf"^\| `{name}` \| {default}\b", README, re.MULTILINE)


@pytest.mark.parametrize(
    "line",
    [
        f"{arguments.DEFAULT_LARGEST:,} bytes as JSON",
        f"{LONGEST_ATOMIC} s at most if atomic",
        f"every {worker.BEAT:g} s",
        f"after {duties.DEAD_AFTER:g} s without a beat",
        f"{runner.DEADLINE_MARGIN} s after its time limit",
    ],
)
def test_it_gives_the_figure_of_the_code(line: str) -> None:
    assert f"| {line} |" in README or f"; {line} |" in README


@pytest.mark.parametrize("state", retention.KEPT)
def test_it_says_how_long_a_finished_job_is_kept(state: str) -> None:
    days = retention.KEPT[state] / 86400
    assert f'| {days:g} days | `RELIABLE_JOBS_KEPT["{state}"]`' in README


def test_a_project_that_copies_what_it_names_runs_a_job(system: System, tmp_path: Path) -> None:
    for name in re.findall(r"`(reliable/[\w/.]+)`", COPY.split("Then, in the settings")[0]):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name)
        else:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    [shown] = re.findall(r"```python\n(.*?)```", COPY, re.DOTALL)
    for name, text in {
        "__init__.py": CELERY,
        "settings.py": SETTINGS + shown,
        "tasks.py": TASKS,
    }.items():
        (tmp_path / "yours").mkdir(exist_ok=True)
        (tmp_path / "yours" / name).write_text(text, encoding="utf-8")
    system.environment["DJANGO_SETTINGS_MODULE"] = "yours.settings"
    system.environment["PYTHONPATH"] = str(tmp_path)

    def run(name: str, *arguments: str) -> None:
        system.run(name, [sys.executable, *arguments], directory=tmp_path)

    run("relay", "-m", "django", "relay")
    run("worker", "-m", "celery", "--app", "yours", "worker", "--queues", "default,default.jobs")
    run("call", "-c", CALL)

    wait_until(lambda: Job.objects.filter(state="succeeded").count(), "the job", timeout=30)
    assert Job.objects.get().result == "HEARD"
