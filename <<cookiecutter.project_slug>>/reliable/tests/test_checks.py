"""The checks find each mistake that was planted in a bare project, and nothing after its cure."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery
from django.conf import settings

from reliable.checks import celery_settings
from reliable.checks.findings import Finding, silenced

RELIABLE = Path(__file__).parents[1]

SETTINGS = """
SECRET_KEY = "only-for-this-test"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "reliable", "sale"]
ROOT_URLCONF = "sale.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "none"}}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": CACHE}}
USE_TZ = True
SUPERVISOR_FILE = "supervisord.conf"
"""

CELERY = """
import os
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
app = Celery("sale", set_as_current=True)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""

WRONG_SETTINGS = """
CACHE = "redis://127.0.0.1:6379/1"
CELERY_BROKER_URL = "redis://localhost:6379/0"
CELERY_RESULT_BACKEND = "redis://localhost:6379/0"
CELERY_ACKS_LATE = True
CELERY_SEND_EVENTS = True
CELERY_TASK_SOFT_TIMELIMIT = 5
CELERY_ACCEPT_CONTENT = ["json", "pickle"]
CELERY_TASK_ALWAYS_EAGER = True
CELERY_WORKER_POOL = "threads"
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 60, "visibilty_timeout": 7200}
CELERY_WORKER_PREFETCH_MULTIPLIER = 4
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 5
CELERY_BEAT_SCHEDULE = {}
"""

# Installed ahead of the Celery that is.
WRONG_VERSION = "Metadata-Version: 2.1\nName: celery\nVersion: 5.7.0\n"

WRONG_SUPERVISOR = """
[program:one]
command=celery -A sale worker -Q celery,other -P threads
stopasgroup=true ; as many guides have it
[program:other]
command=echo worker
"""

WRONG_TASKS = """
from celery import shared_task

@shared_task(autoretry_for=(OSError,), retry_backoff=5, retry_jitter=False, max_retries=None,
             ignore_result=True, time_limit=30)
def charge(order_id): ...

@shared_task(acks_late=True, time_limit=120)
def ship(order_id): ...

@shared_task(queue="slow", ignore_result=True, default_retry_delay=10)
def tidy(): ...
"""

WRONG_VIEWS = """
from celery import chord
from django.contrib.auth.models import User
from django.db import transaction
from sale.tasks import charge, ship

@transaction.atomic
def order(request):
    user = User.objects.create(username="a")
    charge.delay(user)                                     # line 10: in a transaction; an instance
    transaction.on_commit(lambda: charge.delay(user.pk))
    chord([charge.s(1)])(ship.s())                         # line 12

def later(request):
    with transaction.atomic():
        charge.app.send_task("sale.tasks.charge", [1])     # line 16
    ship.apply_async((1,), countdown=60 * 60 * 24)         # line 17
"""

# What `manage.py check` is to say, and where: 30 mistakes.
PLANTED = {
    ("reliable.E002", "CELERY_ACKS_LATE"),
    ("reliable.E002", "CELERY_SEND_EVENTS"),
    ("reliable.E002", "CELERY_TASK_SOFT_TIMELIMIT"),
    ("reliable.E002", "broker_transport_options.visibilty_timeout"),
    ("reliable.E003", "task_acks_late"),
    ("reliable.E004", "accept_content"),
    ("reliable.E005", "sale.tasks.ship"),
    ("reliable.E006", "task_always_eager"),
    ("reliable.E007", "celery"),
    ("reliable.E008", "CACHES['default']"),
    ("reliable.E010", "sale/views.py:10"),
    ("reliable.E010", "sale/views.py:16"),
    ("reliable.E011", "sale/views.py:10"),
    ("reliable.E012", "sale/views.py:12"),
    ("reliable.E020", "program:one"),
    ("reliable.E021", "program:one"),
    ("reliable.E022", "slow"),
    ("reliable.W101", "visibility_timeout"),
    ("reliable.W102", "sale.tasks.tidy"),
    ("reliable.W103", "program:one"),
    ("reliable.W103", "worker_pool"),
    ("reliable.W104", "worker_prefetch_multiplier"),
    ("reliable.W105", "task_reject_on_worker_lost"),
    ("reliable.W106", "sale.tasks.charge"),
    ("reliable.W107", "sale.tasks.charge"),
    ("reliable.W108", "sale.tasks.charge"),
    ("reliable.W108", "sale.tasks.ship"),
    ("reliable.W108", "sale/views.py:17"),
    ("reliable.W109", "broker_transport_options"),
    ("reliable.W111", "program:one"),
}

RIGHT_SETTINGS = """
CACHE = "redis://127.0.0.1:6380/0"
CELERY_BROKER_URL = "redis://localhost:6379/0"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_ANNOTATIONS = {"*": {"time_limit": 60}, "sale.tasks.tidy": {"time_limit": 600}}
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 5
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 2, "socket_connect_timeout": 2}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
"""

RIGHT_TASKS = """
from celery import shared_task

@shared_task(autoretry_for=(OSError,), retry_backoff=5, max_retries=3)
def charge(order_id): ...

@shared_task
def ship(order_id): ...

@shared_task(queue="slow")
def tidy(): ...
"""

RIGHT_SUPERVISOR = """
[program:one]
command=celery -A sale worker --queues=celery,other
environment=HOME="/srv/sale",REMAP_SIGTERM="SIGQUIT"
[program:slow]
command=celery -A sale worker -Q slow
stopsignal=QUIT
stopwaitsecs=20
"""

RIGHT_VIEWS = """
from django.db import transaction
from sale.tasks import charge

@transaction.atomic
def order(request):
    charge.delay_on_commit(1)
    transaction.on_commit(lambda: charge.delay(1))

def later(request):
    charge.delay(1)
    charge.apply_async((1,), countdown=60)
"""


def project(directory: Path, configured: str, tasks: str, views: str, supervisor: str) -> Path:
    """A bare Django and Celery project with a copy of `reliable` and nothing else of ours."""
    shutil.copytree(RELIABLE, directory / "reliable", ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "sale").mkdir()
    for name, text in {
        "settings.py": configured + SETTINGS,
        "sale/__init__.py": "from sale.celery import app\n",
        "sale/celery.py": CELERY,
        "sale/urls.py": "urlpatterns = []\n",
        "sale/tasks.py": tasks,
        "sale/views.py": views,
        "supervisord.conf": supervisor,
    }.items():
        (directory / name).write_text(text)
    return directory


def check(directory: Path, *arguments: str) -> str:
    """What `manage.py check --tag reliable` says in a project."""
    kept = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "settings"}
    command = [sys.executable, "-m", "django", "check", "--tag", "reliable", *arguments]
    done = subprocess.run(
        command,
        cwd=directory,
        env={**kept, "PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def test_each_planted_mistake_is_found_where_it_is(tmp_path: Path) -> None:
    project(tmp_path, WRONG_SETTINGS, WRONG_TASKS, WRONG_VIEWS, WRONG_SUPERVISOR)
    installed = tmp_path / "celery-5.7.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(WRONG_VERSION)
    said = check(tmp_path)

    lines = [line for line in said.splitlines() if "(reliable." in line]
    found = {
        (line.split("(")[1].split(")")[0], line.removeprefix("?: ").split(": (")[0])
        for line in lines
    }
    assert found == PLANTED, said
    assert "Its name is CELERY_TASK_ACKS_LATE." in said
    assert "Its name is CELERY_WORKER_SEND_TASK_EVENTS." in said
    assert "Its name is visibility_timeout." in said


def test_nothing_is_found_once_they_are_corrected(tmp_path: Path) -> None:
    project(tmp_path, RIGHT_SETTINGS, RIGHT_TASKS, RIGHT_VIEWS, RIGHT_SUPERVISOR)
    said = check(tmp_path)

    assert said.strip() == "System check identified no issues (0 silenced)."


def test_a_finding_is_silenced_with_a_reason_for_its_place_alone() -> None:
    chord, other = Finding("reliable.E012", "a.py:1", "A"), Finding("reliable.E012", "b.py:1", "B")

    assert silenced([chord, other], {"reliable.E012:a.py:1": "may be lost"}) == ([other], [chord])
    assert silenced([chord, other], {"reliable.E012": "may be lost"}) == ([], [chord, other])


@pytest.mark.parametrize(("remapped", "found"), [("", ["reliable.W111"]), ("SIGQUIT", [])])
def test_a_soft_shutdown_needs_its_signal_where_no_supervisor_file_says_it(
    monkeypatch: pytest.MonkeyPatch, remapped: str, found: list[str]
) -> None:
    monkeypatch.setenv("REMAP_SIGTERM", remapped)
    app = Celery(set_as_current=False)
    app.conf.update(task_acks_late=True, worker_soft_shutdown_timeout=5, broker_url="memory://")
    app.conf.worker_prefetch_multiplier = 1

    assert [finding.id for finding in celery_settings.check(app, settings)] == found


@pytest.mark.parametrize(("key", "reason"), [("reliable.E012", " "), ("reliable.E999", "typo")])
def test_silence_without_a_reason_or_a_rule_is_a_finding(key: str, reason: str) -> None:
    chord = Finding("reliable.E012", "a.py:1", "A")

    stand, silent = silenced([chord], {key: reason})
    assert [finding.id for finding in stand] == ["reliable.W110", "reliable.E012"]
    assert silent == []
