"""The pytest plugin: `-p reliable.testing.plugin` in the project's pytest options.

It gives a run its own PostgreSQL, broker and cache, started when the first test needs them, and the
fixture `system` for tests with real processes. A process that outlives its test fails that test.
"""

import atexit
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from pytest_django import DjangoDbBlocker

from reliable.testing.browser import browser, visitor
from reliable.testing.checkout import Checkout
from reliable.testing.dispatches import Dispatches, recorded
from reliable.testing.processes import MARKER, end_all, marked
from reliable.testing.servers import BROKER_DATABASES, Servers
from reliable.testing.system import System, connected_to

__all__ = ["browser", "visitor"]  # fixtures that stand there

_run_directory = pytest.StashKey[Path]()
_servers = pytest.StashKey[Servers]()

_broker_databases = itertools.cycle(range(1, BROKER_DATABASES))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("reliable")
    group.addoption("--pictures", metavar="FOLDER", help="keep pictures of pages there")
    group.addoption(
        "--servers",
        choices=["embedded", "system"],
        default="embedded",
        help="take PostgreSQL and Redis from the installed wheels, or from the system",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "own_servers: the test harms a server, and gets three of its own",
    )
    config.addinivalue_line(
        "markers",
        "chaos: real faults under load, half a minute each; `make chaos` runs them",
    )
    config.addinivalue_line(
        "markers",
        "browser: pages in a real Chromium; `make browser` runs them",
    )
    # As Ctrl-C: fixtures end what they started. By default these would leave all of it running.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    # pytest comes to no end where nobody reads what it says: `make test | head`.
    atexit.register(_leave_nothing, config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Set the environment before pytest-django reads the settings; nothing of .env gets in."""
    directory = Path(tempfile.mkdtemp(prefix="test-"))
    early_config.stash[_run_directory] = directory
    os.environ.update(
        {
            "ENV_FILE": os.devnull,
            "SECRET_KEY": uuid.uuid4().hex * 2,
            "ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
            "DATABASE_URL": f"postgresql://app@/app?host={directory}",
            "BROKER_URL": f"redis+socket://{directory}/broker.sock?virtual_host=0",
            "CACHE_URL": f"unix://{directory}/cache.sock?db=0",
            "EMAIL_URL": "console://",
            "STATIC_ROOT": str(directory / "static"),
            "RUN_DIR": str(directory),
            "LOG_DIR": str(directory),
            MARKER: directory.name,
        }
    )
    for name in (
        "DEBUG",
        "PROCESS",
        "RELEASE",
        "SENTRY_DSN",
        "SUPERVISOR_FILE",
        "TIME_ZONE",
        "VISIBILITY_TIMEOUT",
    ):
        os.environ.pop(name, None)
    return (yield)


def pytest_unconfigure(config: pytest.Config) -> None:
    _leave_nothing(config)


def _leave_nothing(config: pytest.Config) -> None:
    """Once; the second time there is nothing left."""
    if servers := config.stash.get(_servers, None):
        del config.stash[_servers]
        servers.stop()
    if directory := config.stash.get(_run_directory, None):
        shutil.rmtree(directory, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what its processes said last."""
    report = yield
    system = getattr(item, "funcargs", {}).get("system")
    if report.failed and isinstance(system, System):
        for process in system.processes:
            report.sections.append((f"log of {process.name}", process.last_words()))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> None:
    """Start the servers before pytest-django creates its database."""
    if fixturedef.argname == "django_db_setup":
        request.getfixturevalue("servers")


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Servers:
    """The run's PostgreSQL, broker and cache; they end with the run."""
    started = Servers(
        pytestconfig.stash[_run_directory],
        marker=os.environ[MARKER],
        system=pytestconfig.getoption("--servers") == "system",
    )
    pytestconfig.stash[_servers] = started
    started.start()
    return started


@pytest.fixture(scope="session", autouse=True)
def _pages_need_no_collected_files() -> None:
    """Let Django's test client show pages although nothing ran `collectstatic`."""
    Path(settings.STATIC_ROOT).mkdir(exist_ok=True)
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}


@pytest.fixture(scope="session")
def static_root() -> Path:
    """The static files as a deploy collects them."""
    root = Path(settings.STATIC_ROOT)
    command = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity", "0"]
    subprocess.run(command, cwd=settings.SUPERVISOR["directory"], check=True)
    return root


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A copy of the project for a module of tests; what is left running fails the last one."""
    marker = uuid.uuid4().hex
    yield Checkout(tmp_path_factory.mktemp("checkout") / "project", marker)
    _fail_if_left(marker)


@pytest.fixture
def dispatched() -> Iterator[Dispatches]:
    """The tasks that this test's code sends; none reaches a broker."""
    with recorded() as dispatches:
        yield dispatches


@pytest.fixture(scope="session")
def database_template(
    servers: Servers, django_test_environment: None, django_db_blocker: DjangoDbBlocker
) -> str:
    """The name of a migrated database that each test of processes gets a copy of."""
    name = "template"
    servers.postgresql.create_database(name)
    with django_db_blocker.unblock(), connected_to(servers, name):
        call_command("migrate", verbosity=0)
    return name


@pytest.fixture
def system(
    servers: Servers,
    database_template: str,
    static_root: Path,
    django_db_blocker: DjangoDbBlocker,
    request: pytest.FixtureRequest,
) -> Iterator[System]:
    """A database and a broker of this test's own, and the means to start processes on them."""
    marker = uuid.uuid4().hex
    database = f"test_{marker}"
    try:
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="test-")))
            if request.node.get_closest_marker("own_servers"):
                used = Servers(directory / "servers", marker=marker, system=servers.from_system)
                stack.callback(used.stop)
                used.start()
                used.copy_database(servers, database_template, database)
            else:
                used = servers
                used.clone_database(database_template, database)
                stack.callback(used.drop_database, database)
            # Flushed, since after the last number the first comes again.
            broker_database = next(_broker_databases)
            used.broker.flush(broker_database)
            running = System(
                used,
                database=database,
                broker_database=broker_database,
                directory=directory,
                static_root=static_root,
                marker=marker,
            )
            stack.enter_context(django_db_blocker.unblock())
            stack.enter_context(running.used_by_this_process())
            stack.callback(running.close)
            yield running
    finally:
        _fail_if_left(marker)


def _fail_if_left(marker: str) -> None:
    left = marked(marker)
    names = [" ".join(process.cmdline()) or process.name() for process in left]
    end_all(left)
    if names:
        pytest.fail(f"the test left processes behind, now killed: {names}")
