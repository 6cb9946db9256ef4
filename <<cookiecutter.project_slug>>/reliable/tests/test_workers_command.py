"""`manage.py workers`: old workers hand their queues over, and can have them back."""

import socket
import sys

from reliable.testing.processes import Process
from reliable.testing.system import System
from reliable.testing.tasks import nap
from reliable.testing.waiting import wait_until

HOST = socket.gethostname()


def workers(system: System, *arguments: str) -> Process:
    """The command, ended."""
    run = system.run("workers", [sys.executable, "manage.py", "workers", *arguments])
    run.wait(timeout=60)
    return run


def started(system: System, name: str) -> bool:
    return name in system.events.of("start")


def test_it_waits_for_the_workers_of_one_deploy_and_names_who_is_silent(system: System) -> None:
    system.worker(release="old")
    said = workers(system, "wait", "new", "--timeout", "3", f"default@{HOST}").output
    assert f"these do not answer: default-new@{HOST}" in said
    system.worker(release="new")
    assert (
        "All 1 workers of new answer." in workers(system, "wait", "new", f"default@{HOST}").output
    )


def test_a_worker_that_released_its_queue_takes_nothing_until_it_is_told_to(system: System) -> None:
    system.worker(release="old")
    assert (
        f"default-old@{HOST}: cancel_consumer default" in workers(system, "release", "old").output
    )
    with system.used_by_this_process():
        nap.delay("first")
    wait_until(lambda: system.waiting("default") == 1, "the message")
    assert "1 in default." in workers(system, "left", "default").output
    assert not started(system, "first")
    workers(system, "take", "old")
    wait_until(lambda: started(system, "first"), "the task")
    assert "Messages left: none." in workers(system, "left", "default").output


def test_workers_of_several_deploys_release_at_once_and_no_others(system: System) -> None:
    for release in ("oldest", "old", "new"):
        system.worker(release=release)
    said = workers(system, "release", "oldest", "old", "--expect", "2").output
    assert sorted(said.splitlines()) == [
        f"default-old@{HOST}: cancel_consumer default",
        f"default-oldest@{HOST}: cancel_consumer default",
    ]


def test_a_queue_that_is_spared_is_not_released(system: System) -> None:
    system.worker(release="old")
    workers(system, "release", "old", "--except", "default")
    with system.used_by_this_process():
        nap.delay("spared")
    wait_until(lambda: started(system, "spared"), "the task")


def test_it_says_what_each_worker_runs(system: System) -> None:
    system.worker(release="old")
    with system.used_by_this_process():
        nap.delay("long", seconds=20)
    wait_until(lambda: started(system, "long"), "the task")
    said = workers(system, "tasks").output
    assert f"default-old@{HOST}: reliable.testing.tasks.nap for" in said
