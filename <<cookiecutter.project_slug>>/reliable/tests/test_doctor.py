"""`manage.py doctor` asks what runs: a healthy system has no finding, each harm has its own."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.conf import settings

from reliable.checks import live, supervisor_file
from reliable.checks.findings import Finding
from reliable.checks.task_options import limits
from reliable.queues import read_by_workers
from reliable.redis import passwords
from reliable.supervisor.render import Place, generation
from reliable.testing.system import System

# Where no worker is started.
NO_WORKER = {("reliable.E032", queue) for queue in read_by_workers(settings.QUEUES)}

# What a broker's INFO says that matters here, with nothing to find in it.
HEALTHY = {"maxmemory_policy": "noeviction", "aof_enabled": 1, "redis_version": "7.0.15"}


def doctor(system: System, *options: str) -> tuple[int, set[tuple[str, str]]]:
    """The exit status, and the id and place of each finding."""
    status, findings = told(system, *options)
    return status, {(finding["id"], finding["place"]) for finding in findings}


def told(system: System, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit status, and each finding as it is told."""
    run = system.run("doctor", [sys.executable, "manage.py", "doctor", "--json", *options])
    status = run.wait(timeout=60)
    report: dict[str, Any] = json.loads(run.output[run.output.rindex('{\n  "findings') :])
    return status, report["findings"]


def test_a_running_system_has_no_finding(system: System) -> None:
    for queue in settings.QUEUES:
        system.worker(queue, concurrency=1)

    assert doctor(system) == (0, set())
    assert doctor(system, "--expect", str(len(settings.QUEUES))) == (0, set())
    # So it waits for no more than it was told to expect.
    status, found = doctor(system, "--expect", "1")
    assert status == 2
    assert len(found) == len(NO_WORKER) - 2


@pytest.mark.own_servers
def test_each_harm_is_found_at_its_place(system: System) -> None:
    with system.servers.broker.client(0) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("appendonly", "no")
    # A second address of the broker, which no comparison of addresses can know.
    port = system.broker_proxy().port
    system.environment["CACHE_URL"] = f"redis://127.0.0.1:{port}/1"
    system.environment["BROKER_URL"] = system.servers.broker.broker_url(system.broker_database)
    for queue in settings.QUEUES:
        if queue != "slow":
            system.environment["VISIBILITY_TIMEOUT"] = "4000" if queue == "mail" else "5000"
            system.worker(queue, concurrency=1)
    status, found = doctor(system)

    assert status == 2
    assert found == {
        ("reliable.E008", "CACHES['default']"),
        ("reliable.E030", "broker"),
        ("reliable.E031", "broker"),
        ("reliable.E032", "slow"),
        ("reliable.E032", "slow.jobs"),
        ("reliable.W101", "workers"),
    }


@pytest.mark.own_servers
def test_dead_servers_are_findings_and_no_traceback(system: System) -> None:
    system.servers.processes["broker"].kill()
    system.servers.processes["postgresql"].kill()

    assert doctor(system) == (1, {("reliable.W130", "broker"), ("reliable.W130", "database")})


@pytest.mark.own_servers
def test_why_a_server_does_not_answer_is_told_without_its_password(system: System) -> None:
    port = system.broker_proxy().port
    with system.servers.broker.client(0) as client:
        client.config_set("requirepass", "right")
    system.environment["BROKER_URL"] = f"redis://:not%2Fright@127.0.0.1:{port}/0"
    system.servers.processes["postgresql"].kill()
    _, findings = told(system)
    why = {each["place"]: each["what"] for each in findings}

    assert "AuthenticationError: invalid username-password pair" in why["broker"]
    assert "OperationalError: connection is bad: connection to server" in why["database"]
    assert "not%2Fright" not in str(findings)
    assert "not/right" not in str(findings)


def test_an_error_that_quotes_an_address_is_told_without_the_password() -> None:
    url = "redis://:s3+cret@broker.example.com/0"
    said = live.reason(ValueError(f"cannot\n  read {url}"), passwords(url))

    assert said == "ValueError: cannot read redis://:[redacted]@broker.example.com/0"


@pytest.mark.own_servers
def test_a_file_that_the_kernel_writes_when_it_likes_and_a_dead_cache_are_found(
    system: System,
) -> None:
    with system.servers.broker.client(0) as client:
        client.config_set("appendfsync", "no")
    system.servers.processes["cache"].kill()
    status, found = doctor(system)

    assert status == 2
    assert found - NO_WORKER == {
        ("reliable.E033", "broker"),
        ("reliable.W130", "CACHES['default']"),
    }


def test_a_clock_that_differs_from_the_servers_is_found(system: System, tmp_path: Path) -> None:
    # Python imports it at the start of each process: this host is a minute ahead.
    ahead = "import time\n\nright = time.time\ntime.time = lambda: right() + 60\n"
    (tmp_path / "sitecustomize.py").write_text(ahead, encoding="utf-8")
    system.environment["PYTHONPATH"] = str(tmp_path)
    _, found = doctor(system)

    assert found - NO_WORKER == {("reliable.W132", "broker"), ("reliable.W132", "database")}


@pytest.mark.parametrize(
    ("found", "place"),
    [
        (live.judge_broker({**HEALTHY, "redis_version": "6.2.14"}, "everysec"), "broker"),
        (live.judge_postgresql(140012), "database"),
    ],
)
def test_a_server_older_than_what_was_tested_is_found(found: Iterator[Finding], place: str) -> None:
    assert [(finding.id, finding.place) for finding in found] == [("reliable.W131", place)]


def test_a_valkey_is_not_taken_for_the_old_redis_that_it_claims_to_be() -> None:
    said = {**HEALTHY, "redis_version": "6.2.14", "valkey_version": "8.0.1"}
    assert list(live.judge_broker(said, "everysec")) == []


def test_the_file_that_we_render_has_no_finding(system: System, tmp_path: Path) -> None:
    layout = system.layout()
    place = Place(directory=tmp_path, log_dir=tmp_path, home=tmp_path)
    file = tmp_path / "supervisord.conf"
    file.write_text(generation("a", [layout.web(), *layout.workers()], place), encoding="utf-8")

    assert (
        list(supervisor_file.check(file, limits(current_app, settings.QUEUES), declared=True)) == []
    )


def test_a_file_that_cannot_be_read_was_not_looked_at(tmp_path: Path) -> None:
    [finding] = supervisor_file.check(tmp_path / "missing.conf", {}, declared=True)

    assert (finding.id, finding.place) == ("reliable.W130", str(tmp_path / "missing.conf"))


def test_a_file_is_held_to_the_declared_queues(tmp_path: Path) -> None:
    file = tmp_path / "supervisord.conf"
    file.write_text("[program:one]\ncommand=celery -A sale worker -Q mail,typo\nstopwaitsecs=60\n")
    found = supervisor_file.check(file, {"mail": 60, "slow": 1800}, declared=True)

    assert {(each.id, each.place) for each in found} == {
        ("reliable.E020", "program:one"),
        ("reliable.E022", "slow"),
        ("reliable.W120", "program:one"),
    }


def test_a_worker_that_reads_no_durable_tasks_is_found(tmp_path: Path) -> None:
    file = tmp_path / "old.conf"
    file.write_text("[program:mail]\ncommand=celery worker -Q mail\nstopwaitsecs=90\n")
    [finding] = supervisor_file.check(file, {"mail": 60, "mail.jobs": 60}, declared=True)

    assert (finding.id, finding.place) == ("reliable.E022", "mail.jobs")
