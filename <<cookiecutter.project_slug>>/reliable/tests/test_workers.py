"""What a plain task may expect of a worker that is stopped, killed or cut off."""

import os
import signal

import pytest

from reliable.testing.system import System
from reliable.testing.tasks import kill_own_process, nap
from reliable.testing.waiting import wait_until


def test_a_task_in_progress_finishes_when_its_worker_is_stopped(system: System) -> None:
    worker = system.worker()
    nap.delay("long", 2.0)
    wait_until(lambda: system.events.of("start"), "the start of the task")
    worker.terminate()
    assert worker.wait() == 0
    assert system.events.of("end") == ["long"]


def test_a_killed_child_loses_its_task_with_a_log_line_and_nothing_else(system: System) -> None:
    worker = system.worker(concurrency=2)
    nap.delay("neighbour", 2.0)
    kill_own_process.delay("killed")
    nap.delay("later")
    wait_until(lambda: {"neighbour", "later"} <= set(system.events.of("end")), "the other tasks")
    worker.wait_for_output("WorkerLostError")
    assert system.events.of("start").count("killed") == 1


def test_a_killed_worker_is_restarted_and_its_task_returns_after_the_visibility_timeout(
    system: System,
) -> None:
    system.environment["VISIBILITY_TIMEOUT"] = "3"
    supervisord = system.supervised([system.layout().worker("default")])
    worker = "generation-a:worker-default-a"
    # Asked for before the task, of whose one second nothing is to be lost.
    killed = wait_until(lambda: supervisord.process_id(worker), "the worker")
    nap.delay("interrupted", 1.0)
    wait_until(lambda: system.events.of("start"), "the start of the task", timeout=30)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: supervisord.process_id(worker) not in {0, killed}, "the worker's restart")
    assert system.events.of("end") == []
    wait_until(lambda: system.events.of("end"), "the second run", timeout=40)
    assert system.events.of("start") == ["interrupted", "interrupted"]
    assert system.events.of("end") == ["interrupted"]


@pytest.mark.own_servers
def test_workers_go_on_after_the_broker_was_restarted(system: System) -> None:
    system.worker()
    broker = system.servers.processes["broker"]
    nap.delay("before")
    wait_until(lambda: system.events.of("end") == ["before"], "the first task")
    broker.kill()
    broker.wait()
    broker.start()
    system.servers.wait_for("broker")
    nap.delay("after")
    wait_until(lambda: system.events.of("end") == ["before", "after"], "the second task")
