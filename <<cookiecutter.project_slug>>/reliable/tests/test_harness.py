"""The harness itself: what it promises to the tests of everything else."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from reliable.testing.processes import Process, end_all
from reliable.testing.system import System
from reliable.testing.tasks import nap
from reliable.testing.waiting import wait_until

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


@pytest.mark.parametrize("turn", ["first", "second"])
def test_each_test_has_a_database_and_a_broker_of_its_own(system: System, turn: str) -> None:
    """Neither turn sees what the other left, whichever runs first."""
    users = get_user_model().objects
    assert connection.settings_dict["NAME"] == system.database
    assert users.count() == 0
    assert system.waiting("default") == 0
    users.create(username=turn)
    nap.delay("never run")
    assert users.count() == 1
    assert system.waiting("default") == 1


def test_a_process_can_be_frozen_thawed_restarted_and_killed(system: System) -> None:
    process = system.run("sleeper", SLEEP)
    process.wait_for_output("up")
    process.freeze()
    wait_until(
        lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, "a stopped process"
    )
    process.thaw()
    wait_until(
        lambda: psutil.Process(process.pid).status() != psutil.STATUS_STOPPED, "a thawed process"
    )
    first = process.pid
    process.restart()
    process.wait_for_output("up", count=2)
    assert process.pid != first
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_workers_of_two_releases_run_at_once(system: System) -> None:
    old = system.worker(release="old")
    new = system.worker(release="new")
    assert "default-old@" in old.output
    assert "default-new@" in new.output
    old.terminate()
    old.wait()
    nap.delay("after the switch")
    wait_until(lambda: system.events.of("end"), "the task")
    assert "after the switch" in system.events.of("end")
    new.wait_for_output("succeeded")


def test_a_frozen_proxy_moves_nothing_and_a_thawed_one_does(system: System) -> None:
    proxy = system.broker_proxy()
    client = redis.Redis(port=proxy.port, socket_timeout=0.3, retry=Retry(NoBackoff(), 0))
    assert client.ping()
    proxy.freeze()
    with pytest.raises(redis.TimeoutError):
        client.ping()
    proxy.thaw()
    client.close()
    assert client.ping()
    client.close()


def test_a_proxy_that_cuts_resets_connections_and_takes_new_ones(system: System) -> None:
    proxy = system.database_proxy()
    url = system.environment["DATABASE_URL"]
    with psycopg.connect(url) as first:
        first.execute("SELECT 1")
        proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            first.execute("SELECT 1")
    with psycopg.connect(url) as second:
        assert second.execute("SELECT current_database()").fetchone() == (system.database,)


def test_a_proxy_that_refuses_can_accept_again_on_the_same_port(system: System) -> None:
    proxy = system.broker_proxy()
    client = redis.Redis(port=proxy.port, socket_timeout=1, retry=Retry(NoBackoff(), 0))
    assert client.ping()
    proxy.refuse()
    with pytest.raises(redis.ConnectionError):
        client.ping()
    proxy.accept()
    assert client.ping()
    client.close()


@pytest.mark.own_servers
def test_a_killed_database_is_back_with_its_data(system: System) -> None:
    users = get_user_model().objects
    users.create(username="ada")
    postgresql = system.servers.processes["postgresql"]
    children = postgresql.children()
    postgresql.kill()
    end_all(children)  # none starts while a session of the last one holds its memory
    postgresql.wait()
    postgresql.start()
    system.servers.wait_for("postgresql")
    connection.close()
    assert users.get().username == "ada"


def test_waiting_in_vain_says_for_what_and_what_was_last_seen() -> None:
    with pytest.raises(AssertionError, match=r"waited 0.1 s for a miracle; last saw: \[1, 2\]"):
        wait_until(lambda: False, "a miracle", timeout=0.1, saw=lambda: [1, 2])


def test_a_process_left_over_fails_the_test_that_left_it_and_is_killed(tmp_path: Path) -> None:
    code = """\
        import subprocess

        def test_that_leaves_a_process(system):
            subprocess.run(["sh", "-c", "sleep 600 &"], env=system.environment)

        def test_that_is_innocent(system):
            pass
        """
    output, status = _pytest(tmp_path, code)
    assert status == 1
    assert "2 passed, 1 error" in output.splitlines()[-1]
    assert "left processes behind, now killed" in output
    assert "ERROR" in output
    assert "test_that_leaves_a_process" in output.split("short test summary")[-1]


@pytest.mark.parametrize("sent", ["SIGTERM", "SIGHUP"])
def test_servers_end_with_a_run_that_is_terminated(tmp_path: Path, sent: str) -> None:
    code = f"""\
        import os, signal

        def test_that_is_interrupted(system):
            system.worker()
            os.kill(os.getpid(), signal.{sent})
        """
    output, status = _pytest(tmp_path, code)
    assert status == pytest.ExitCode.INTERRUPTED, output


def test_servers_end_with_a_run_that_cannot_say_that_it_is_terminated(tmp_path: Path) -> None:
    """As `make test | less`, when its reader goes first."""
    code = """\
        import pathlib, time

        def test_that_nobody_reads(system):
            system.worker()
            (pathlib.Path(__file__).parent / "begun").touch()
            time.sleep(60)
        """
    command, environment = _prepared(tmp_path, code)
    read, write = os.pipe()
    run = subprocess.Popen(
        command,
        stdout=write,
        stderr=write,
        env=environment,
        cwd=settings.SUPERVISOR["directory"],
    )
    os.close(write)
    try:
        wait_until((tmp_path / "begun").exists, "its test", timeout=30)
    finally:
        os.close(read)
        run.terminate()
        run.wait(timeout=60)
    _assert_nothing_is_left(tmp_path)


def _prepared(directory: Path, code: str) -> tuple[list[str], dict[str, str]]:
    """The command of a pytest for tests of its own, and its environment."""
    temporary = directory / "tmp"
    temporary.mkdir()
    (directory / "test_inner.py").write_text(textwrap.dedent(code))
    command = [
        *(sys.executable, "-m", "pytest", str(directory), "-p", "no:cacheprovider"),
        *("--rootdir", str(directory)),
        *("-c", str(settings.SUPERVISOR["directory"] / "pyproject.toml")),
    ]
    return command, {**os.environ, "TMPDIR": str(temporary)}


def _pytest(directory: Path, code: str) -> tuple[str, int]:
    """Run tests in a pytest of their own; nothing of it may remain, files or processes."""
    command, environment = _prepared(directory, code)
    run = Process(
        "pytest",
        command,
        environment=environment,
        directory=settings.SUPERVISOR["directory"],
        log=directory / "log",
    ).start()
    try:
        status = run.wait(timeout=60)
    finally:
        run.end()
    _assert_nothing_is_left(directory)
    return run.output, status


def _assert_nothing_is_left(directory: Path) -> None:
    left = _below(directory / "tmp")
    end_all(left)
    assert left == []
    assert list((directory / "tmp").glob("test-*")) == []


def _below(directory: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(directory) in " ".join(process.info["cmdline"] or [])
    ]
