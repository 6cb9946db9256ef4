"""The README of probes is true: its figures, its states, its files to copy, its settings."""

import re
import shutil
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from django.conf import settings

from reliable.probes.models import Target
from reliable.probes.options import Options
from reliable.probes.states import Hop, State
from reliable.testing.system import System
from reliable.testing.waiting import wait_until

ROOT = Path(settings.SUPERVISOR["directory"])
README = (ROOT / "reliable/probes/README.md").read_text(encoding="utf-8")
COPY = README.split("## Copy it into another project")[1]
TABLE = README.split("## Options")[1].split("## Copy it")[0].partition("|")[2]

# A project that has nothing of this one but what it copied.
SETTINGS = """
import os

import environs
from reliable import queues

env = environs.Env()
DATABASES = {"default": env.dj_db_url("DATABASE_URL")}
CELERY_BROKER_URL = env.str("BROKER_URL")
CELERY_BEAT_SCHEDULE = {}
SECRET_KEY = "only for a test"
USE_TZ = True
INSTALLED_APPS = []
"""
CELERY = """
from celery import Celery

app = Celery("yours")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
DECLARATION = """queues.validate({"default": {
    "purpose": "everything", "concurrency": 1, "soft_time_limit": 100, "time_limit": 120,
    "latency": {"warn": 15, "critical": 60},
}})"""


@pytest.mark.parametrize("field", fields(Options), ids=lambda field: field.name)
def test_it_gives_the_default_of(field: object) -> None:
    name = getattr(field, "name", "")
    default = getattr(field, "default", 0.0)
    days = f"{default / 86400:g} days"
    [row] = [line for line in TABLE.splitlines() if f"`{name}`" in line]
    assert re.search(rf"\b{default:g}\b", row) or days in row


@pytest.mark.parametrize("name", [*State, *Hop])
def test_it_explains(name: str) -> None:
    assert f"| `{name}` |" in README


def test_a_project_that_copies_what_it_names_is_watched(system: System, tmp_path: Path) -> None:
    for name in re.findall(r"`(reliable/[\w/.]+)`", COPY.split("Then:")[0]):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name)
        elif "README" not in name:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    [shown] = re.findall(r"```python\n(INSTALLED_APPS.*?)\n\n", COPY, re.DOTALL)
    shown = re.sub(r"queues\.validate\(.*", lambda _: DECLARATION, shown)
    (tmp_path / "yours").mkdir()
    for name, text in {"__init__.py": CELERY, "settings.py": SETTINGS + shown}.items():
        (tmp_path / "yours" / name).write_text(text, encoding="utf-8")
    system.environment["DJANGO_SETTINGS_MODULE"] = "yours.settings"
    system.environment["PYTHONPATH"] = str(tmp_path)

    def run(name: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "celery", "--app", "yours", *arguments]
        system.run(name, command, directory=tmp_path)

    run("worker", "worker", "--queues", "default")
    run("beat", "beat", "--schedule", str(tmp_path / "schedule"), "--pidfile", "")
    wait_until(
        lambda: Target.objects.filter(kind__in=("queue", "worker"), returned__gt=0).count() == 2,
        "answers of the list and of the worker",
        timeout=40,
        saw=lambda: list(Target.objects.values_list("name", "state", "why", "error")),
    )
    assert [target.name for target in Target.objects.filter(kind="queue")] == ["default"]
