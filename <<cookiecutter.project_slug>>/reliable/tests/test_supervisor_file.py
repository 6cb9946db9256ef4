"""The supervisor file: no stop loses a task, no two deploys collide, and it holds no secret."""

import re
import shlex
from configparser import RawConfigParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from pytest_django import Settings
from supervisor.options import ServerOptions

from reliable.supervisor.render import daemon

WORKERS = [f"worker-{queue}-d1" for queue in settings.QUEUES]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Supervisor wants the directory of a log file to exist."""
    path = tmp_path / "log"
    path.mkdir()
    return path


def render(*arguments: str, deploy_id: str = "d1") -> str:
    output = StringIO()
    call_command("supervisor", f"--deploy-id={deploy_id}", *arguments, stdout=output)
    return output.getvalue()


def sections(text: str) -> RawConfigParser:
    """The file as it is written; a section or key that stands twice is an error."""
    parser = RawConfigParser(strict=True)
    parser.read_string(text)
    return parser


def programs(text: str) -> dict[str, Any]:
    parser = sections(text)
    return {
        name.removeprefix("program:"): parser[name]
        for name in parser.sections()
        if name.startswith("program:")
    }


def read_by_supervisor(text: str, directory: Path) -> dict[str, dict[str, Any]]:
    """Group to name to program, as supervisor itself understands the file."""
    file = directory / "supervisord.conf"
    daemon_part = daemon(socket=directory / "s.sock", log_dir=directory, run_dir=directory)
    file.write_text(f"{daemon_part}\n{text}", encoding="utf-8")
    options = ServerOptions()
    options.realize(["-c", str(file)])
    return {
        group.name: {program.name: program for program in group.process_configs}
        for group in options.process_group_configs
    }


# --- Stopping and restarting ---------------------------------------------------------------------


def test_supervisor_reads_every_program_as_it_is_meant(logs: Path) -> None:
    groups = read_by_supervisor(render(f"--log-dir={logs}"), logs)

    assert set(groups) == {"generation-d1"}
    assert sorted(groups["generation-d1"]) == sorted(["web-d1", "relay-d1", "beat-d1", *WORKERS])
    for program in groups["generation-d1"].values():
        assert program.stopsignal == 15
        assert program.stopasgroup is False
        assert program.killasgroup is True
        assert program.directory == str(settings.SUPERVISOR["directory"])
        assert program.environment["HOME"] == str(Path.home())
        assert program.environment["DEPLOY_ID"] == "d1"
        assert program.stdout_logfile == str(logs / f"{program.name}.log")
        assert program.redirect_stderr is True


@pytest.mark.parametrize("name", ["web-d1", *WORKERS, "relay-d1", "beat-d1"])
def test_a_stop_lets_the_program_finish_and_leaves_no_orphans(name: str) -> None:
    program = programs(render())[name]
    assert program["stopsignal"] == "TERM"
    assert program["stopasgroup"] == "false"
    assert program["killasgroup"] == "true"
    assert program["autorestart"] == "true"
    assert 'HOME="' in program["environment"]


@pytest.mark.parametrize("queue", settings.QUEUES)
def test_supervisor_waits_longer_than_the_queues_hard_limit(queue: str, logs: Path) -> None:
    groups = read_by_supervisor(render(f"--log-dir={logs}"), logs)
    worker = groups["generation-d1"][f"worker-{queue}-d1"]
    declared = settings.QUEUES[queue]

    assert worker.stopwaitsecs > declared["time_limit"]
    assert f"--time-limit {declared['time_limit']}" in worker.command
    assert f"--soft-time-limit {declared['soft_time_limit']}" in worker.command
    assert f"--concurrency {declared['concurrency']}" in worker.command
    assert f"--queues {queue},{queue}.jobs --hostname {queue}-d1@%h" in worker.command
    assert "--pool prefork" in worker.command
    assert worker.environment["PROCESS"] == f"worker-{queue}"


def test_supervisor_waits_longer_for_the_web_process_than_a_request_may_take() -> None:
    assert int(programs(render())["web-d1"]["stopwaitsecs"]) > 30


# --- Two deploys side by side --------------------------------------------------------------------


def test_two_deploys_share_no_name_and_no_socket() -> None:
    old, new = programs(render()), programs(render(deploy_id="d2"))

    assert set(old).isdisjoint(new)
    binds = [
        re.findall(r"unix:(\S+?\.sock)", p[f"web-{d}"]["command"])
        for p, d in ((old, "d1"), (new, "d2"))
    ]
    assert [len(sockets) for sockets in binds] == [1, 1]
    assert binds[0] != binds[1]
    nodes = [
        re.findall(r"--hostname (\S+)", program["command"])
        for program in [*old.values(), *new.values()]
    ]
    named = [name for found in nodes for name in found]
    assert len(set(named)) == len(named) == 2 * len(settings.QUEUES)


# --- What a host runs ----------------------------------------------------------------------------


def test_a_host_runs_the_programs_that_it_was_given() -> None:
    text = render("--programs", "web", "worker-default")
    assert list(programs(text)) == ["web-d1", "worker-default-d1"]
    assert sections(text)["group:generation-d1"]["programs"] == "web-d1,worker-default-d1"


def test_a_host_may_give_a_queue_more_processes() -> None:
    changed = programs(render("--concurrency", "default=7"))
    usual = programs(render())
    assert "--concurrency 7" in changed["worker-default-d1"]["command"]
    assert {name for name in usual if usual[name] != changed[name]} == {"worker-default-d1"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--programs", "worker-typo"],
            r"^--programs worker-typo: there is no such program",
        ),
        (["--programs", "celery"], r"there are web, workers, worker-.+, beat\.$"),
        (["--concurrency", "typo=2"], r"^--concurrency names the queue 'typo', which is not"),
        *(
            (
                ["--concurrency", text],
                rf"^--concurrency '{text}': write QUEUE=N, for example",
            )
            for text in ("default", "default=", "default=0", "default=many", "default=1.5")
        ),
    ],
)
def test_a_value_that_means_nothing_is_refused_in_a_sentence(
    arguments: list[str], sentence: str
) -> None:
    with pytest.raises(CommandError, match=sentence):
        render(*arguments)


@pytest.mark.parametrize("deploy_id", ["", "a b", "../up", "x" * 65, "d1\n", "d%h", "d;1"])
def test_a_deploy_id_that_no_file_could_bear_is_refused(deploy_id: str) -> None:
    with pytest.raises(CommandError, match=r"use letters, digits, .*for example 20260131-1830"):
        render(deploy_id=deploy_id)


# --- Values --------------------------------------------------------------------------------------


def test_the_file_holds_no_secret(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    secret = "hunter2-in-every-place"
    for name in ("SECRET_KEY", "DATABASE_URL", "BROKER_URL", "CACHE_URL", "EMAIL_URL"):
        monkeypatch.setenv(name, f"redis://app:{secret}@example.com/0")
    # Where the secrets are: the programs read that file themselves.
    monkeypatch.setenv("ENV_FILE", "/etc/app/env")
    settings.SECRET_KEY = secret
    settings.EMAIL_HOST_PASSWORD = secret
    settings.CELERY_BROKER_URL = settings.CACHE_URL = f"redis://:{secret}@example.com/0"

    text = render()

    assert secret not in text
    assert "://" not in text
    keys = set(re.findall(r'([A-Z_]+)="', text))
    assert keys == {"HOME", "PYTHONUNBUFFERED", "PROCESS", "RELEASE", "DEPLOY_ID", "ENV_FILE"}
    assert 'ENV_FILE="/etc/app/env"' in text


def test_a_percent_sign_reaches_the_program_as_it_was_written(logs: Path) -> None:
    odd = "/srv/50%(here)s/%h"
    text = render(f"--home={odd}", f"--run-dir={odd}", f"--log-dir={logs}")

    program = read_by_supervisor(text, logs)["generation-d1"]["web-d1"]
    assert program.environment["HOME"] == odd
    assert shlex.split(program.command)[-2] == f"unix:{odd}/web-d1.sock"


@pytest.mark.parametrize("home", ["/srv/a\nuser=root", "/srv/a ;b"])
def test_a_value_that_would_end_its_line_is_refused(home: str) -> None:
    with pytest.raises((CommandError, ValueError), match="line break"):
        render(f"--home={home}")


def test_the_programs_run_as_the_account_that_was_named() -> None:
    text = render("--user=celery", "--home=/srv/celery")
    assert {program["user"] for program in programs(text).values()} == {"celery"}
    assert all('HOME="/srv/celery"' in p["environment"] for p in programs(text).values())
    assert not any("user" in program for program in programs(render()).values())
