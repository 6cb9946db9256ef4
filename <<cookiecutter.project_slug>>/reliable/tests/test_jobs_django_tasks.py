"""Django's task API on durable tasks: what its own tests ask of a backend, and what ours promises.

Its tests of the immediate and of the dummy backend expect a result at once, or a list of what was
enqueued: neither holds of a row and a worker. All else that they ask is asked here, of Django's
`django.tasks` or of the package django-tasks, whichever the Django of this run has.
"""

import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import django
import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from reliable.jobs import BadArgument, State, inflight
from reliable.jobs.backend import DurableBackend
from reliable.jobs.models import Job
from reliable.jobs.taskapi import (
    InvalidTask,
    InvalidTaskBackend,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task,
    task_backends,
)
from reliable.testing.effects import Effects
from reliable.testing.run_jobs import run_jobs
from reliable.testing.system import System
from reliable.tests import api_tasks
from reliable.tests.api_tasks import DURABLE, TASKS, ended, later

PROJECT = Path(django_settings.SUPERVISOR["directory"])

pytestmark = pytest.mark.usefixtures("django_tasks")


# --- Enqueue -------------------------------------------------------------------------------------


@pytest.mark.parametrize("each", [api_tasks.add, api_tasks.add_async])
def test_it_enqueues_a_function_or_a_coroutine_and_its_result_is_that_of_the_body(
    db: None, each: Any
) -> None:
    result = each.enqueue(1, second=3)
    assert (result.status, result.is_finished, result.attempts) == ("READY", False, 0)
    assert (result.args, result.kwargs, result.task) == ([1], {"second": 3}, each)
    assert result.started_at is result.finished_at is result.last_attempted_at is None
    with pytest.raises(ValueError, match="not finished"):
        _ = result.return_value
    assert each.get_result(result.id) == result

    ended(result)

    assert (result.status, result.return_value, result.attempts) == ("SUCCESSFUL", 4, 1)
    moments = [result.enqueued_at, result.started_at, result.finished_at]
    assert moments == sorted(filter(None, moments))
    assert result.errors == []


async def _asynchronously() -> None:
    result = await api_tasks.add.aenqueue(1, second=3)
    assert await api_tasks.add.aget_result(result.id) == result
    await result.arefresh()
    assert result.status == TaskResultStatus.READY
    with pytest.raises(TaskResultDoesNotExist):
        await api_tasks.add.aget_result(str(uuid.uuid4()))


def test_it_enqueues_and_looks_asynchronously(db: None) -> None:
    async_to_sync(_asynchronously)()
    assert later() == 1


def test_the_job_belongs_to_the_callers_transaction(db: None) -> None:
    with transaction.atomic():
        result = api_tasks.add.enqueue(1)
        assert Job.objects.count() == 1
        transaction.set_rollback(True)
    with pytest.raises(TaskResultDoesNotExist):
        result.refresh()


@pytest.mark.parametrize("argument", [datetime.now(UTC), object(), {1, 2}])
def test_an_argument_that_is_no_json_is_a_type_error(db: None, argument: Any) -> None:
    with pytest.raises(TypeError):
        api_tasks.add.enqueue(argument)
    assert not Job.objects.exists()


def test_arguments_that_do_not_fit_are_refused_at_the_call(db: None) -> None:
    with pytest.raises(BadArgument, match="missing a required argument: 'first'"):
        api_tasks.add.enqueue()  # type: ignore[call-arg]
    with pytest.raises(BadArgument, match="too many"):
        api_tasks.fail_once.enqueue("a", "b")  # type: ignore[call-arg]


# --- using() -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("priority", "level"),
    [(-100, 0), (-81, 0), (-80, 1), (0, 5), (19, 5), (20, 6), (99, 9), (100, 9)],
)
def test_twenty_priorities_are_one_level_and_the_default_is_the_default(
    db: None, priority: int, level: int
) -> None:
    result = api_tasks.add.using(priority=priority).enqueue(1)
    assert Job.objects.get().priority == level
    assert api_tasks.add.get_result(result.id).task.priority == priority


@pytest.mark.parametrize("priority", [-101, 101, 3.1])
def test_a_priority_out_of_range_is_refused(priority: Any) -> None:
    with pytest.raises(InvalidTask, match="whole number between -100 and 100"):
        api_tasks.add.using(priority=priority)


def test_it_does_not_run_before_run_after(db: None) -> None:
    moment = timezone.now() + timedelta(hours=1)
    result = api_tasks.add.using(run_after=moment).enqueue(1)
    assert run_jobs() == 0
    assert api_tasks.add.get_result(result.id).task.run_after == moment
    assert run_jobs(at=moment) == 1


def test_a_naive_run_after_is_refused() -> None:
    with pytest.raises(InvalidTask, match="aware"):
        api_tasks.add.using(run_after=datetime.now())  # noqa: DTZ005


def test_the_queue_is_the_jobs_and_its_limit_the_tasks(db: None) -> None:
    result = api_tasks.add.using(queue_name="critical").enqueue(1)
    job = Job.objects.get()
    assert (job.queue, job.time_limit) == ("critical", 20)
    assert api_tasks.add.get_result(result.id).task.queue_name == "critical"


def test_a_queue_that_is_not_declared_is_refused_by_name() -> None:
    with pytest.raises(InvalidTask, match="'nowhere'"):
        api_tasks.add.using(queue_name="nowhere")
    with pytest.raises(InvalidTask, match="'default'"):
        api_tasks.add.using(backend="mail")
    assert api_tasks.add.using(backend="mail", queue_name="mail").backend == "mail"


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(InvalidTaskBackend, match="unknown"):
        api_tasks.add.using(backend="unknown")


def test_options_of_the_backend_are_those_of_its_jobs(db: None) -> None:
    api_tasks.add.using(backend="once").enqueue(1)
    job = Job.objects.get()
    assert (job.max_attempts, job.backoff, job.atomic) == (1, 0, False)
    result = api_tasks.fail.using(backend="once").enqueue("no")
    assert ended(result).status == TaskResultStatus.FAILED
    assert result.backend == result.task.backend == "once"


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ({**DURABLE, "QUEUES": ["default", "nowhere"]}, "the queue 'nowhere' is not declared"),
        ({**DURABLE, "OPTIONS": {"max_attempt": 3}}, "OPTIONS has no 'max_attempt'; there are"),
        ({**DURABLE, "OPTIONS": {"max_attempts": 0}}, "max_attempts cannot be 0"),
        ({**DURABLE, "OPTIONS": {"backoff": "long"}}, "OPTIONS: .*'str' and 'int'"),
    ],
)
def test_wrong_settings_are_found_by_check_and_refuse_each_task(
    settings: Settings, backend: dict[str, Any], said: str
) -> None:
    settings.TASKS = {"default": backend}
    [found] = task_backends["default"].check()
    with pytest.raises(InvalidTaskBackend, match=said):
        task(api_tasks.no_task)
    assert str(found.msg).startswith("TASKS['default']: ")
    if django.VERSION >= (6, 0):
        with pytest.raises(SystemCheckError, match=said):
            call_command("check")


def test_sound_settings_have_no_finding() -> None:
    assert [problem for each in task_backends.all() for problem in each.check()] == []


def test_a_task_must_stand_in_a_module_and_name_its_context() -> None:
    def inner() -> None: ...

    with pytest.raises(InvalidTask, match="module level"):
        task(inner)
    with pytest.raises(InvalidTask, match="context"):
        task(takes_context=True)(api_tasks.no_task)  # type: ignore[arg-type]


def test_it_says_what_it_supports() -> None:
    backend = task_backends["default"]
    assert isinstance(backend, DurableBackend)
    assert backend.supports_defer
    assert backend.supports_async_task
    assert backend.supports_get_result
    assert backend.supports_priority


# --- What a row may name -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["reliable.tests.api_tasks.no_task", "reliable.tests.api_tasks.gone", "os.getcwd", "x"]
)
def test_a_row_runs_nothing_that_is_no_task(db: None, name: str) -> None:
    api_tasks.add.enqueue(1)
    Job.objects.update(task=name, args=[])
    assert [found.why for found in inflight.misfits()] == [
        f"this release has no durable task {name}"
    ]
    run_jobs()
    job = Job.objects.get()
    assert (job.state, job.misfits) == (State.WAITING, 1)
    assert api_tasks.calls == []


def test_jobs_of_a_backend_that_the_settings_no_longer_have_wait(
    db: None, settings: Settings
) -> None:
    api_tasks.add.using(backend="once").enqueue(1)
    assert inflight.misfits() == []
    settings.TASKS = {"default": DURABLE}
    assert len(inflight.misfits()) == 1
    run_jobs()
    assert Job.objects.get().misfits == 1


def test_jobs_wait_in_a_release_without_the_api(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    api_tasks.add.enqueue(1)
    monkeypatch.setitem(sys.modules, "reliable.jobs.backend", None)
    run_jobs()
    assert Job.objects.get().misfits == 1


def test_a_project_that_does_not_use_the_api_needs_no_package_for_it() -> None:
    code = (
        "import sys; sys.modules['django_tasks'] = None; import django; django.setup();"
        "from django.core.management import call_command; call_command('check');"
        "assert 'reliable.jobs.taskapi' not in sys.modules"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=PROJECT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


# --- Real processes ------------------------------------------------------------------------------


SETTINGS = f"""
from config.settings import *

TASKS = {TASKS!r}
INSTALLED_APPS = [*INSTALLED_APPS, *{[] if django.VERSION >= (6, 0) else ["django_tasks"]!r}]
"""


def test_a_worker_that_never_saw_the_module_runs_its_tasks(
    system: System, effects: Effects, tmp_path: Path
) -> None:
    (tmp_path / "with_tasks.py").write_text(SETTINGS)
    system.environment |= {"DJANGO_SETTINGS_MODULE": "with_tasks", "PYTHONPATH": str(tmp_path)}
    system.relay()
    worker = system.start(system.layout().worker("default", concurrency=1))
    worker.wait_for_output(" ready.")
    worker.children()[0].kill()
    with transaction.atomic():
        results = [api_tasks.effect.enqueue(f"{number}") for number in range(10)]
        failing = api_tasks.fail.using(backend="once").enqueue("no")
    effects.wait_for_end()
    effects.assert_once({f"{number}" for number in range(10)})
    for result in results:
        result.refresh()
        assert result.status == TaskResultStatus.SUCCESSFUL
    failing.refresh()
    assert failing.errors[0].exception_class is LookupError
    assert "state=SUCCESSFUL" in worker.output
