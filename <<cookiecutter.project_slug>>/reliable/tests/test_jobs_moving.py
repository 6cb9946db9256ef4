"""A task moves between `@shared_task` and `@durable_task` while its calls are on their way."""

import re
import sys
import uuid
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from celery.app.task import Context
from django.utils import timezone

from reliable.jobs import State, durable_task, inflight, moving, runner
from reliable.jobs.durable import registry
from reliable.jobs.models import Job
from reliable.testing.effects import Effects
from reliable.testing.jobs import note
from reliable.testing.processes import Process
from reliable.testing.run_jobs import run_jobs
from reliable.testing.system import System
from reliable.testing.tasks import fail, nap
from reliable.testing.waiting import wait_until

WORKER = uuid.uuid4()

# What differs between the two releases: the decorator, and how a body asks for another attempt.
PLAIN = """
from celery import shared_task
from reliable.testing import effects

@shared_task(bind=True, queue="default", max_retries=None)
def add(self, name):
    if name.endswith("3") and not self.request.retries:
        raise self.retry(countdown=0.5)
    effects.add(f"plain {name}")

@shared_task(queue="default")
def follow(name):
    effects.add(f"after {name}")
"""
DURABLE = """
from celery import shared_task
from reliable.jobs import current_job, durable_task
from reliable.testing import effects

@durable_task(queue="default", max_attempts=50, backoff=1)
def add(name):
    if name.endswith("3") and current_job().attempt == 1:
        raise ValueError("not yet")
    effects.add(f"durable {name}")

@shared_task(queue="default")
def follow(name):
    effects.add(f"after {name}")
"""
CALLER = """
import itertools, sys, time
from config.celery import app
import django; django.setup()
from moved import add
from reliable.testing.events import here

caller = sys.argv[1]
for number in itertools.count():
    if caller in here().of("stop"):
        break
    name = f"{caller}-{number}"
    add.apply_async([name], countdown=2 if number % 4 == 0 else 0)
    here().record("called", name)
    time.sleep(0.04)
"""


class Releases:
    """Two releases of one project, which differ in one task."""

    def __init__(self, system: System, directory: Path) -> None:
        self.system = system
        self.paths = {}
        for kind, text in {"plain": PLAIN, "durable": DURABLE}.items():
            (directory / kind).mkdir()
            (directory / kind / "moved.py").write_text(text)
            self.paths[kind] = {"PYTHONPATH": str(directory / kind)}

    def worker(self, kind: str, number: int) -> Process:
        program = self.system.layout(f"{kind}-{number}").worker("default", concurrency=2)
        program = replace(
            program,
            arguments=(*program.arguments, "--include", "moved"),
            environment={**program.environment, **self.paths[kind]},
        )
        process = self.system.start(program)
        process.wait_for_output(" ready.")
        return process

    def caller(self, kind: str, number: int) -> Process:
        """Start a process that calls the task until `stop`, and wait until it does."""
        name = f"{kind}-{number}"
        command = [sys.executable, "-c", CALLER, name]
        process = self.system.run(name, command, environment=self.paths[kind])
        wait_until(lambda: f"{name}-0" in self.called, "its first call", timeout=30)
        return process

    def stop(self, caller: Process) -> None:
        self.system.events.record("stop", caller.name)
        assert caller.wait(timeout=60) == 0

    @property
    def called(self) -> set[str]:
        return set(self.system.events.of("called"))


@pytest.fixture
def releases(system: System, effects: Effects, tmp_path: Path) -> Releases:
    return Releases(system, tmp_path)


def ran(effects: Effects) -> Counter[str]:
    """How often each call had its effect, in whichever release."""
    return Counter(name.partition(" ")[2] for name in effects.names)


@pytest.mark.chaos
def test_none_is_lost_and_none_doubled_there_and_back_and_there_again(
    system: System, releases: Releases, effects: Effects
) -> None:
    """Plain, durable, rolled back, and durable again, with callers of both at work meanwhile."""

    def not_run(of: str = "") -> list[str]:
        counts = ran(effects)
        return [name for name in releases.called if name.startswith(of) and name not in counts]

    system.environment["VISIBILITY_TIMEOUT"] = "5"
    system.relay()

    plain = releases.worker("plain", 1)
    old_caller = releases.caller("plain", 1)
    wait_until(lambda: effects.count() > 20, "plain calls")

    # Both releases run, and both call.
    durable = releases.worker("durable", 1)
    new_caller = releases.caller("durable", 1)
    wait_until(lambda: "durable-1-20" in ran(effects), "jobs")
    plain.terminate()  # with messages that wait for their time
    assert plain.wait(timeout=60) == 0
    releases.stop(old_caller)
    wait_until(
        lambda: not not_run("plain"),
        "calls of the old release",
        timeout=60,
        saw=lambda: not_run("plain"),
    )
    # Not before: a killed worker loses the plain message that Redis hands it at that moment.
    durable.kill()
    durable = releases.worker("durable", 2)
    effects.wait_for_more("effect", 20)

    # Rolled back, while the new release still calls.
    plain = releases.worker("plain", 2)
    durable.terminate()
    assert durable.wait(timeout=60) == 0
    ran_plain = Job.objects.filter(release_ran="plain-2", state="succeeded")
    wait_until(lambda: ran_plain.count() > 20, "jobs that the old release runs")
    releases.stop(new_caller)

    # And once more forward, while the old release still calls.
    old_caller = releases.caller("plain", 3)
    wait_until(lambda: "plain-3-20" in ran(effects), "plain calls")
    releases.worker("durable", 3)
    plain.terminate()
    assert plain.wait(timeout=60) == 0
    effects.wait_for_more("effect", 20)
    releases.stop(old_caller)

    wait_until(lambda: not not_run(), "the rest", timeout=60, saw=not_run)
    effects.wait_for_end()
    counts = ran(effects)
    assert set(counts) == releases.called
    assert {name for name, count in counts.items() if count > 1} == set()
    assert effects.states == {"succeeded": Job.objects.count()}
    logs = "".join(process.output for process in system.processes)
    taken = len(re.findall("job.taken_over", logs))
    retried = Job.objects.filter(attempt__gt=0).count()
    plain_jobs = Job.objects.filter(release_ran="plain-2").count()
    print(
        f"{len(counts)} calls: {taken} messages became jobs, {plain_jobs} jobs ran in the plain"
        f" release, {retried} were retried"
    )
    assert min(taken, plain_jobs, retried) > 10


def test_the_rest_of_a_chain_follows_the_end_of_the_job(
    system: System, releases: Releases, effects: Effects
) -> None:
    chain = current_app.signature("moved.add", ["a3"], immutable=True) | current_app.signature(
        "moved.follow", ["a3"], immutable=True, queue="default"
    )
    chain.apply_async(queue="default")
    releases.worker("durable", 1)
    wait_until(Job.objects.exists, "the job")
    assert effects.names == []
    system.relay()
    wait_until(lambda: effects.count() == 2, "the chain", timeout=60)
    assert effects.names == ["durable a3", "after a3"]


def test_a_message_stays_until_the_database_is_back(
    system: System, releases: Releases, effects: Effects
) -> None:
    database = system.database_proxy()
    worker = releases.worker("durable", 1)
    database.refuse()
    database.cut()
    current_app.send_task("moved.add", ["b"], queue="default")
    worker.wait_for_output("job.message_waits")
    database.accept()
    wait_until(Job.objects.exists, "the job")
    assert Job.objects.get().task == "moved.add"


def test_a_message_that_the_broker_delivers_again_runs_once(
    system: System, releases: Releases, effects: Effects
) -> None:
    """And one that its caller sends again under the same id is another call."""
    system.relay()
    for name in ("c", "d"):
        current_app.send_task("moved.add", [name], task_id="one a user", queue="default")
    with system.servers.broker.client(system.broker_database) as client:
        for message in client.lrange("default", 0, -1):
            client.rpush("default", message, message)  # as the visibility timeout does
    worker = releases.worker("durable", 1)
    wait_until(lambda: worker.output.count("job.taken_over") == 6, "six deliveries")
    effects.wait_for_end()
    assert sorted(effects.names) == ["durable c", "durable d"]


# --- In this process -----------------------------------------------------------------------------


@pytest.fixture
def door() -> Any:
    name = note.name
    yield moving.door(current_app, note)
    current_app.tasks.pop(name)


def test_a_message_is_one_job_however_often_it_arrives(transactional_db: None, door: Any) -> None:
    for retries in range(3):
        door.apply(["a"], task_id="one of many", retries=retries, throw=True, ignore_result=True)
    job = Job.objects.get()
    assert (job.id, job.args, job.max_attempts) == (
        moving.job_id(Context(id="one of many")),
        ["a"],
        note.max_attempts,
    )


def test_arguments_of_another_release_wait_for_one_that_takes_them(
    transactional_db: None, door: Any
) -> None:
    door.apply(["a", "b", "c"], throw=True, ignore_result=True)
    run_jobs()
    job = Job.objects.get()
    assert (job.state, job.misfits, job.attempt) == (State.WAITING, 1, 0)


@pytest.fixture
def row_of_a_plain_task(transactional_db: None) -> Job:
    return Job.objects.create(id=uuid.uuid4(), task=nap.name, queue="default", args=["a"])


def test_a_row_whose_task_became_plain_is_no_misfit(row_of_a_plain_task: Job) -> None:
    assert inflight.misfits() == []
    Job.objects.update(args=["a", 0, "more than it takes"])
    [found] = inflight.misfits()
    assert "do not fit" in found.why


@pytest.mark.parametrize("name", ["reliable.jobs.run", "celery.backend_cleanup", "os.getcwd"])
def test_a_row_runs_tasks_alone(row_of_a_plain_task: Job, name: str) -> None:
    Job.objects.update(task=name, args=[])
    assert runner.run(row_of_a_plain_task.id, WORKER)
    job = Job.objects.get()
    assert (job.state, job.misfits) == (State.WAITING, 1)


def test_a_plain_body_sees_its_request_and_its_retry_is_an_attempt(transactional_db: None) -> None:
    seen = []

    @current_app.task(name="moved.here", bind=True)
    def body(self: Any, name: str) -> object:
        seen.append((self.request.id, self.request.retries, self.request.args))
        if not self.request.retries:
            raise self.retry(countdown=10)
        return object()

    job = Job.objects.create(id=uuid.uuid4(), task="moved.here", queue="default", args=["a"])
    try:
        run_jobs(at=timezone.now() + timedelta(hours=1), raise_errors=False)
    finally:
        current_app.tasks.pop("moved.here")
    job.refresh_from_db()
    assert seen == [(str(job.id), 0, ("a",)), (str(job.id), 1, ("a",))]
    assert (job.state, job.attempt, job.result) == (State.SUCCEEDED, 1, None)


def test_what_a_plain_body_raises_shows_no_argument(transactional_db: None) -> None:
    """The task may have had secrets when the row was written."""
    job = Job.objects.create(
        id=uuid.uuid4(), task=fail.name, queue="default", args=["hunter2"], max_attempts=1
    )
    run_jobs(raise_errors=False)
    job.refresh_from_db()
    assert job.state == State.FAILED
    assert "hunter2" not in job.error + job.attempts.get().traceback
    assert "is wrong" in job.error


def test_a_task_that_has_both_kinds_keeps_both(transactional_db: None) -> None:
    """A door takes no plain task's place."""

    @durable_task(name=nap.name)
    def other() -> None: ...

    try:
        moving.open_doors(current_app)
        assert not hasattr(current_app.tasks[nap.name], "is_door")
        assert hasattr(current_app.tasks[note.name], "is_door")
    finally:
        del registry[nap.name]
        for name in registry:
            current_app.tasks.pop(name, None)
