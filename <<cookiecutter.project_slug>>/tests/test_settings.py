"""The settings keep what docs/celery-settings.md and .env.example promise.

What a production process reads is asked of a process of its own, with an environment made here.
"""

import ast
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from celery.app.defaults import NAMESPACES, flatten
from django.conf import settings
from kombu.transport.redis import Channel

from accounts.tasks import clear_expired_sessions
from config import celery_app

PROJECT = Path(__file__).resolve().parents[1]

# No server listens at these addresses: no command here needs one.
PRODUCTION = {
    "SECRET_KEY": secrets.token_urlsafe(60),
    "ALLOWED_HOSTS": "example.com",
    "DATABASE_URL": "postgresql://app:hunter2@127.0.0.1:1/app",
    "BROKER_URL": "redis://:hunter2@127.0.0.1:1/0",
    "CACHE_URL": "redis://:hunter2@127.0.0.1:2/0",
    "EMAIL_URL": "submission://app:hunter2@127.0.0.1:3",
}

CELERY_SETTINGS = sorted(name for name in dir(settings) if name.startswith("CELERY_"))


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the project with this environment and nothing else."""
    base = {"PATH": os.environ["PATH"], "ENV_FILE": os.devnull}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env=base | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def production(expression: str, **environment: str) -> Any:
    """What a production process makes of an expression on its `settings`."""
    code = f"import json; from django.conf import settings; print(json.dumps({expression}))"
    done = python("-c", code, DJANGO_SETTINGS_MODULE="config.settings", **PRODUCTION | environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(**environment: str) -> str:
    """The one sentence with which `manage.py check` refuses an environment."""
    done = python("manage.py", "check", **environment)
    assert done.returncode == 1, done.stdout
    [sentence] = done.stderr.splitlines()
    assert sentence.startswith("error: ")
    assert "hunter2" not in sentence
    return sentence


# --- Celery knows each setting, and obeys it -----------------------------------------------------


def known_to_celery(name: str) -> bool:
    return name.removeprefix("CELERY_").lower() in {entry[0] for entry in flatten(NAMESPACES)}


def known_to_transport(option: str) -> bool:
    # Those of the second group bound the attempts to connect: kombu.Connection reads them.
    connecting = {"max_retries", "interval_start", "interval_step", "interval_max"}
    return option in Channel.from_transport_options or option in connecting


@pytest.mark.parametrize("name", CELERY_SETTINGS)
def test_celery_knows_and_obeys(name: str) -> None:
    assert known_to_celery(name)
    assert celery_app.conf[name.removeprefix("CELERY_").lower()] == getattr(settings, name)


@pytest.mark.parametrize("option", settings.CELERY_BROKER_TRANSPORT_OPTIONS)
def test_the_redis_transport_knows_and_obeys(option: str) -> None:
    assert known_to_transport(option)
    expected = settings.CELERY_BROKER_TRANSPORT_OPTIONS[option]
    with celery_app.connection_for_write() as connection:
        assert dict(connection.transport_options or {})[option] == expected


def test_a_made_up_setting_would_be_noticed() -> None:
    assert not known_to_celery("CELERY_TASK_ACK_LATE")
    assert not known_to_celery("CELERYD_CONCURRENCY")
    assert not known_to_transport("visibilty_timeout")


def test_a_task_without_options_of_its_own_obeys_the_settings() -> None:
    assert clear_expired_sessions.acks_late is True
    assert clear_expired_sessions.reject_on_worker_lost is False
    assert clear_expired_sessions.ignore_result is True
    assert clear_expired_sessions.serializer == "json"


def test_a_worker_could_read_the_declared_queues_and_no_other() -> None:
    durable = {f"{name}.jobs" for name in settings.QUEUES}
    assert set(celery_app.amqp.queues) == set(settings.QUEUES) | durable
    with pytest.raises(KeyError):
        celery_app.amqp.queues["typo"]


def test_only_json_is_sent_and_accepted() -> None:
    assert celery_app.conf.accept_content == ["json"]
    assert celery_app.conf.task_serializer == "json"
    assert celery_app.conf.result_serializer == "json"


def test_every_task_has_limits_and_leaves_no_result() -> None:
    assert 0 < celery_app.conf.task_soft_time_limit < celery_app.conf.task_time_limit
    assert celery_app.conf.task_ignore_result is True
    assert celery_app.conf.result_backend is None


def test_no_running_task_is_given_to_a_second_worker() -> None:
    longest = max(queue["time_limit"] for queue in settings.QUEUES.values())
    options = production("settings.CELERY_BROKER_TRANSPORT_OPTIONS")
    assert options["visibility_timeout"] >= longest + 300


def test_celery_is_the_version_whose_workers_survive_a_restart_of_redis() -> None:
    assert version("celery") == "5.6.3"
    assert version("kombu").startswith("5.7.")
    assert '"celery[redis]==5.6.3"' in (PROJECT / "pyproject.toml").read_text(encoding="utf-8")


# --- Production starts safe, or not at all -------------------------------------------------------


def test_djangos_deployment_checks_find_nothing() -> None:
    done = python("manage.py", "check", "--deploy", "--fail-level", "WARNING", **PRODUCTION)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == "System check identified no issues (2 silenced)."


@pytest.mark.parametrize(
    "name", ["SECRET_KEY", "DATABASE_URL", "BROKER_URL", "CACHE_URL", "EMAIL_URL"]
)
def test_production_refuses_to_start_without(name: str) -> None:
    environment = {key: value for key, value in PRODUCTION.items() if key != name}
    assert f'"{name}" not set' in refusal(**environment)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", "flase"),
        ("DATABASE_URL", "postgres"),
        ("EMAIL_URL", "carrier-pigeon://example.com"),
        ("SECURE_HSTS_SECONDS", "one hour"),
        ("VISIBILITY_TIMEOUT", "1h"),
        ("BROKER_URL", ""),
        ("CACHE_URL", "redis://127.0.0.1:port"),
        ("SECRET_KEY", ""),
        ("TIME_ZONE", "Mars/Olympus"),
        ("LOG_LEVEL", "loud"),
        # example: begin
        ("PAYMENT_URL", "payments.example.com"),
        # example: end
    ],
)
def test_production_refuses_a_value_that_it_cannot_read(name: str, value: str) -> None:
    assert name in refusal(**PRODUCTION | {name: value})


def test_production_refuses_a_cache_that_could_evict_the_queues() -> None:
    one = {"BROKER_URL": "redis://127.0.0.1:6379/0", "CACHE_URL": "redis://localhost:6379/1"}
    assert "BROKER_URL and CACHE_URL name one Redis instance" in refusal(**PRODUCTION | one)


# --- The database: who asks, and for how long ----------------------------------------------------


def database(**environment: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The connection's options, and what it sets for its session."""
    options = production("settings.DATABASES['default']['OPTIONS']", **environment)
    session = dict(pair.split("=") for pair in options["options"].split(" ") if pair != "-c")
    return options, session


@pytest.mark.parametrize(
    ("process", "milliseconds"),
    [
        ("web", 30_000),
        ("worker-default", settings.QUEUES["default"]["time_limit"] * 1000),
        ("beat", 0),
        ("manage", 0),
    ],
)
def test_a_statement_ends_when_the_process_that_asked_gives_up(
    process: str, milliseconds: int
) -> None:
    options, session = database(PROCESS=process)
    assert options["application_name"] == f"{settings.PROJECT_SLUG}:{process}"
    assert session["statement_timeout"] == str(milliseconds)
    assert session["idle_in_transaction_session_timeout"] == str(milliseconds)
    assert session["lock_timeout"] == "10000"


def test_a_command_typed_by_hand_is_named_manage_and_has_no_time_limit() -> None:
    options, session = database()
    assert options["application_name"].endswith(":manage")
    assert session["statement_timeout"] == "0"


def test_no_connection_waits_for_ever_for_a_host_that_vanished() -> None:
    options, _ = database()
    assert options["connect_timeout"] == 5
    assert options["keepalives"] == 1
    assert production("settings.DATABASES['default']['CONN_HEALTH_CHECKS']") is True


def test_what_database_url_says_wins() -> None:
    url = f"{PRODUCTION['DATABASE_URL']}?sslmode=verify-full&connect_timeout=2"
    options, _ = database(DATABASE_URL=url)
    assert options["sslmode"] == "verify-full"
    assert int(options["connect_timeout"]) == 2


# --- .env.example describes what the settings read -----------------------------------------------

# ENV_FILE names the file itself; PROCESS differs by process, so that the supervisor file sets it.
NOT_IN_A_FILE = {"ENV_FILE", "PROCESS"}


def variables(source: str) -> Iterator[str]:
    """The environment variables that Python source reads, with environs or from os.environ."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="env"), attr=reader),
                args=[ast.Constant(value=str(name)), *_],
            ) if reader != "read_env":
                yield name
            case (
                ast.Call(
                    func=ast.Attribute(value=ast.Attribute(attr="environ"), attr="get"),
                    args=[ast.Constant(value=str(name)), *_],
                )
                | ast.Call(
                    func=ast.Attribute(attr="getenv"), args=[ast.Constant(value=str(name)), *_]
                )
                | ast.Subscript(
                    value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name))
                )
            ):
                yield name


def test_every_way_of_reading_a_variable_would_be_noticed() -> None:
    source = (
        'env.read_env("file"); env.str("A", default=""); env.bool("B"); os.environ["C"];'
        ' os.environ.get("D"); os.getenv("E"); os.environ.setdefault("F", "")'
    )
    assert set(variables(source)) == {"A", "B", "C", "D", "E"}


def test_env_example_describes_every_variable_and_no_other() -> None:
    read = {
        name
        for file in (PROJECT / "config").rglob("*.py")
        for name in variables(file.read_text(encoding="utf-8"))
    }
    example = (PROJECT / ".env.example").read_text(encoding="utf-8")
    assigned = re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=", example, re.MULTILINE)
    assert sorted(assigned) == sorted(read - NOT_IN_A_FILE)
    assert read >= NOT_IN_A_FILE


def test_env_example_says_in_words_what_each_variable_is_for() -> None:
    example = (PROJECT / ".env.example").read_text(encoding="utf-8")
    paragraphs = re.sub("^# example: .*\n", "", example, flags=re.MULTILINE).split("\n\n")
    assert [text for text in paragraphs if not re.match(r"# [A-Z][a-z-]+.* ", text)] == []


# --- The documentation equals the code -----------------------------------------------------------


def documented() -> dict[str, str]:
    """Setting or transport option to its value, from the last tables of the page."""
    page = (PROJECT / "docs" / "celery-settings.md").read_text(encoding="utf-8")
    _, tables = page.split("## Every setting")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", tables, re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a setting stands twice"
    return dict(rows)


def test_the_page_of_celery_settings_names_each_setting_and_no_other() -> None:
    options = settings.CELERY_BROKER_TRANSPORT_OPTIONS
    assert sorted(documented()) == sorted([*CELERY_SETTINGS, *options])


@pytest.mark.parametrize("name", [*CELERY_SETTINGS, *settings.CELERY_BROKER_TRANSPORT_OPTIONS])
def test_the_page_of_celery_settings_gives_the_value_of(name: str) -> None:
    value = getattr(settings, name, settings.CELERY_BROKER_TRANSPORT_OPTIONS.get(name))
    literal = re.fullmatch(r"`(.+)`", documented()[name])
    # What comes from queues.yml or the environment is described in words.
    derived = {
        "CELERY_BROKER_TRANSPORT_OPTIONS",
        "CELERY_BROKER_URL",
        "CELERY_TASK_QUEUES",
        "CELERY_TASK_ROUTES",
        "CELERY_TASK_SOFT_TIME_LIMIT",
        "CELERY_TASK_TIME_LIMIT",
        "CELERY_TIMEZONE",
        "visibility_timeout",
    }
    if name in derived:
        assert literal is None
    else:
        assert literal is not None
        assert ast.literal_eval(literal[1]) == value
