"""The README of probes is true: its figures, its states, its files to copy, its settings."""

import re
import shutil
import subprocess
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

# What somebody has who has Django's admin, and the page at the first visit.
ADMIN = """
INSTALLED_APPS += [f"django.contrib.{name}" for name in (
    "admin", "auth", "contenttypes", "sessions", "messages", "staticfiles"
)]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
STATIC_URL = "static/"
ROOT_URLCONF = "yours.urls"
ALLOWED_HOSTS = ["testserver"]
"""
URLS = """
from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
"""
VISIT = """
import django

django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

call_command("check", fail_level="WARNING")
call_command("migrate", verbosity=0)
client = Client()
client.force_login(User.objects.create_superuser("ada"))
print(client.get("/admin/reliable_probes/target/").content.decode())
"""


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


@pytest.fixture
def copied(system: System, tmp_path: Path) -> Path:
    """A project that has copied what the README names, with the settings that it shows."""
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
    return tmp_path


def test_a_project_that_copies_what_it_names_is_watched(system: System, copied: Path) -> None:
    def run(name: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "celery", "--app", "yours", *arguments]
        system.run(name, command, directory=copied)

    run("worker", "worker", "--queues", "default")
    run("beat", "beat", "--schedule", str(copied / "schedule"), "--pidfile", "")
    wait_until(
        lambda: Target.objects.filter(kind__in=("queue", "worker"), returned__gt=0).count() == 2,
        "answers of the list and of the worker",
        timeout=40,
        saw=lambda: list(Target.objects.values_list("name", "state", "why", "error")),
    )
    assert [target.name for target in Target.objects.filter(kind="queue")] == ["default"]


def test_the_operations_page_needs_nothing_but_probes_and_the_admin(
    system: System, copied: Path
) -> None:
    with (copied / "yours/settings.py").open("a", encoding="utf-8") as file:
        file.write(ADMIN)
    (copied / "yours/urls.py").write_text(URLS, encoding="utf-8")
    system.servers.postgresql.create_database("yours")
    done = subprocess.run(
        [sys.executable, "-c", VISIT],
        cwd=copied,
        env={**system.environment, "DATABASE_URL": system.servers.postgresql.url("yours")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Beat has never ticked." in done.stdout
    assert "Probe now" in done.stdout
    assert "Failed jobs" not in done.stdout
