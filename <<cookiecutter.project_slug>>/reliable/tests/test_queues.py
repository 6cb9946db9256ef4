"""The declaration of queues: what is refused, what follows from it, and that it is one edit."""

from configparser import RawConfigParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from celery import Celery
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from pytest_django import Settings

from reliable import queues, startup

DECLARATION = """\
mail:
  purpose: e-mail
  concurrency: 2
  soft_time_limit: 50
  time_limit: 60
  latency: {warn: 30, critical: 120}
  routes: ["*.email_*", "orders.tasks.remind"]
default:
  purpose: everything else
  concurrency: 1
  soft_time_limit: 100
  time_limit: 120
  latency: {warn: 15, critical: 60}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "queues.yml"
    path.write_text(DECLARATION, encoding="utf-8")
    return path


def refusal(file: Path, declaration: str) -> str:
    """What `load` says about a declaration; each message names the file first."""
    file.write_text(declaration, encoding="utf-8")
    with pytest.raises(ImproperlyConfigured) as caught:
        queues.load(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    return message


def nothing() -> None:
    """The body of a task that is never run."""


# --- What is declared ----------------------------------------------------------------------------


def test_a_valid_file_gives_every_queue_with_every_field(file: Path) -> None:
    declared = queues.load(file)

    assert list(declared) == ["mail", "default"]
    assert declared["mail"] == {
        "purpose": "e-mail",
        "concurrency": 2,
        "soft_time_limit": 50,
        "time_limit": 60,
        "latency": {"warn": 30, "critical": 120},
        "routes": ["*.email_*", "orders.tasks.remind"],
    }
    assert declared["default"]["routes"] == []


def test_a_dictionary_in_python_is_held_to_the_same_rules(file: Path) -> None:
    declared: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert queues.validate(declared) == queues.load(file)
    del declared["mail"]["time_limit"]
    with pytest.raises(ImproperlyConfigured, match=r"^QUEUES: queue `mail`: `time_limit` is "):
        queues.validate(declared)


# --- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "wrong", "problem", "example"),
    [
        ("  purpose: e-mail\n", "", "`purpose` is missing", "`purpose: calls to the warehouse`"),
        ("purpose: e-mail", "purpose: 3", "`purpose` cannot be 3", "`purpose: calls to"),
        ("  concurrency: 2\n", "", "`concurrency` is missing", "`concurrency: 2`"),
        ("concurrency: 2", 'concurrency: "2"', "`concurrency` cannot be '2'", "`concurrency: 2`"),
        ("concurrency: 2", "concurrency: true", "`concurrency` cannot be True", "`concurrency: 2`"),
        ("concurrency: 2", "concurrency: 0", "`concurrency` cannot be 0", "`concurrency: 2`"),
        ("  soft_time_limit: 50\n", "", "`soft_time_limit` is missing", "`soft_time_limit: 50`"),
        ("  time_limit: 60\n", "", "`time_limit` is missing", "`time_limit: 60`"),
        (" time_limit: 60", " time_limit: -1", "`time_limit` cannot be -1", "`time_limit: 60`"),
        (" time_limit: 60", " time_limit: 1.5", "`time_limit` cannot be 1.5", "`time_limit: 60`"),
        (" time_limit: 60", " time_limit: 1m", "`time_limit` cannot be '1m'", "`time_limit: 60`"),
        (" time_limit: 60", " time_limit:", "`time_limit` cannot be None", "`time_limit: 60`"),
        (
            "  latency: {warn: 30, critical: 120}\n",
            "",
            "`latency` is missing",
            "`latency: {warn: 30, critical: 120}`",
        ),
        ("{warn: 30, critical: 120}", "30", "`latency` cannot be 30", "`latency: {warn: 30"),
        ("{warn: 30, ", "{", "latency: `warn` is missing", "`warn: 30`"),
        (", critical: 120}", "}", "latency: `critical` is missing", "`critical: 120`"),
        ("warn: 30", "warn: 0", "latency: `warn` cannot be 0", "`warn: 30`"),
        (
            '["*.email_*", "orders.tasks.remind"]',
            '"*.email_*"',
            "`routes` cannot be",
            '["*.email_*"]',
        ),
    ],
)
def test_a_field_that_is_wrong_is_named_with_its_queue_and_an_example(
    file: Path, right: str, wrong: str, problem: str, example: str
) -> None:
    assert right in DECLARATION
    message = refusal(file, DECLARATION.replace(right, wrong, 1))
    assert f"queue `mail`{',' if 'latency: ' in problem else ':'} {problem}" in message
    assert f"write for example {'' if example[0] == '`' else '`routes: '}{example}" in message


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        (
            " time_limit: 60",
            " time_limit: 50",
            "`soft_time_limit` (50) must be below `time_limit` (50)",
        ),
        ("warn: 30", "warn: 120", "`warn` (120) must be below `critical` (120)"),
        (" time_limit: 60", " timelimit: 60", "unknown field `timelimit`; the fields are purpose,"),
    ],
)
def test_fields_that_do_not_fit_together_are_named(
    file: Path, right: str, wrong: str, problem: str
) -> None:
    assert f"queue `mail`: {problem}" in refusal(file, DECLARATION.replace(right, wrong, 1))


@pytest.mark.parametrize("name", ["Mail", "e mail", "7", "true", "-q", "mail/slow", "m" * 41])
def test_a_name_that_no_process_could_bear_is_refused(file: Path, name: str) -> None:
    message = refusal(file, DECLARATION.replace("mail:", f"{name}:", 1))
    assert "is no queue name" in message
    assert "for example `image-resize`" in message


def test_a_queue_without_fields_is_refused(file: Path) -> None:
    assert "queue `late`: needs its fields" in refusal(file, f"{DECLARATION}late:\n")


@pytest.mark.parametrize("declaration", ["", "[]", "mail", "{}"])
def test_a_file_without_queues_is_refused(file: Path, declaration: str) -> None:
    assert "declare at least the queue `default:`" in refusal(file, declaration)


def test_a_declaration_without_the_default_queue_is_refused(file: Path) -> None:
    message = refusal(file, DECLARATION.replace("default:", "other:"))
    assert "the queue `default` is missing" in message


def test_a_route_that_stands_at_two_queues_is_refused(file: Path) -> None:
    message = refusal(file, f'{DECLARATION}  routes: ["*.email_*"]\n')
    assert "the route '*.email_*' stands at the queues `mail` and `default`" in message


def test_a_file_that_is_no_yaml_is_refused_with_the_line(file: Path) -> None:
    assert "line 1" in refusal(file, "mail: {")


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "queues.yml"
    with pytest.raises(ImproperlyConfigured, match=r"queues\.yml: cannot be read: No such file"):
        queues.load(missing)


# --- What follows from it ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        ("orders.tasks.email_receipt", "mail"),
        ("orders.tasks.remind", "mail"),
        ("orders.tasks.email_digest_report_now", "mail"),
        ("orders.tasks.report_sales", "slow"),
        ("orders.tasks.anything", None),
    ],
)
def test_the_first_pattern_that_fits_routes_a_task(
    file: Path, task: str, queue: str | None
) -> None:
    slow = DECLARATION.split("default:", maxsplit=1)[0].replace("mail:", "slow:")
    slow = slow.replace('["*.email_*", "orders.tasks.remind"]', '["*report_*"]')
    file.write_text(DECLARATION + slow, encoding="utf-8")
    app = Celery("throwaway", set_as_current=False)
    app.conf.task_routes = queues.celery_routes(queues.load(file))
    assert app.amqp.router.lookup_route(task) == ({"queue": queue} if queue else None)


def test_adding_a_queue_is_one_edit(file: Path, settings: Settings) -> None:
    # The project's own declaration, wherever it stands, and seven lines more.
    file.write_text(
        yaml.safe_dump({name: dict(queue) for name, queue in settings.QUEUES.items()})
        + "image-resize:\n"
        "  purpose: thumbnails\n"
        "  concurrency: 3\n"
        "  soft_time_limit: 200\n"
        "  time_limit: 240\n"
        "  latency: {warn: 20, critical: 90}\n"
        '  routes: ["*.resize_*"]\n',
        encoding="utf-8",
    )
    settings.QUEUES = queues.load(file)

    output = StringIO()
    call_command("supervisor", "--deploy-id=d1", stdout=output)
    parser = RawConfigParser()
    parser.read_string(output.getvalue())
    worker = parser["program:worker-image-resize-d1"]

    reads = "--queues image-resize,image-resize.jobs"
    assert f"{reads} --hostname image-resize-d1@" in worker["command"]
    assert "--concurrency 3 --soft-time-limit 200 --time-limit 240" in worker["command"]
    assert 'PROCESS="worker-image-resize"' in worker["environment"]
    assert int(worker["stopwaitsecs"]) > 240
    assert "worker-image-resize-d1" in parser["group:generation-d1"]["programs"].split(",")
    assert queues.celery_routes(settings.QUEUES)["*.resize_*"] == {"queue": "image-resize"}


# --- A task that nobody would run ----------------------------------------------------------------


@pytest.fixture
def app() -> Celery:
    """Give it tasks with `shared=False`: others go to every application, the project's as well."""
    app = Celery("throwaway", set_as_current=False)
    app.conf.update(
        task_default_queue=queues.DEFAULT_QUEUE, task_routes=queues.celery_routes(settings.QUEUES)
    )
    return app


def test_tasks_of_declared_queues_may_start(app: Celery) -> None:
    app.task(name="t.found", shared=False, queue=queues.DEFAULT_QUEUE)(nothing)
    assert startup.undeclared_routes(app, settings.QUEUES) == {}


def test_a_task_that_names_an_undeclared_queue_is_found(app: Celery) -> None:
    app.task(name="t.lost", shared=False, queue="typo")(nothing)
    assert startup.undeclared_routes(app, settings.QUEUES) == {"t.lost": "typo"}


def test_a_task_that_a_route_sends_to_an_undeclared_queue_is_found(app: Celery) -> None:
    app.task(name="t.lost", shared=False)(nothing)
    app.conf.task_routes = {**app.conf.task_routes, "t.*": {"queue": "typo"}}
    assert startup.undeclared_routes(app, settings.QUEUES) == {"t.lost": "typo"}


def test_no_process_starts_with_a_task_that_nobody_would_run(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.task(name="t.lost", shared=False, queue="typo")(nothing)
    monkeypatch.setattr(startup, "current_app", app)

    with pytest.raises(ImproperlyConfigured) as caught:
        startup.refuse_undeclared_routes()

    declared = ", ".join(settings.QUEUES)
    assert str(caught.value) == (
        "The task t.lost is routed to the queue 'typo', which is not declared"
        f" (declared: {declared}): nobody would run it."
    )
    [error] = startup.check_routes(None)
    assert error.id == "reliable.E001"
