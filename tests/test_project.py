"""A generated project passes its own checks and tests, in real runs and as its makers get it."""

import os
import re
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import SOURCES, Bake, Checkout
from terminal import make, passes, run, sources
from test_bake import ODD

BAKES: dict[str, dict[str, str | bool]] = {
    "default": {},
    "plain": {"example_app": False},
    "odd": {
        "project_name": "日本語 & Söhne: 🛒 #1",
        "project_slug": "a" * 30,
        "domain": "a-b.shop.example.co.uk",
        "timezone": "America/Argentina/Buenos_Aires",
    },
}

# The user model stands last in its file.
NEW_FIELD = """
    from django.db import models

    size = models.IntegerField(default=0)
"""


TASK_BEFORE_ITS_COMMIT = """\
from celery import current_app
from django.db import transaction


@transaction.atomic
def send() -> None:
    current_app.send_task("accounts.tasks.welcome")
"""


@pytest.fixture(scope="module")
def unbaked(checkout: Checkout, template: Path) -> Path:
    """Return the template's sources of a project as they stand, without any answer."""
    return checkout(template / SOURCES)


@pytest.fixture(scope="module")
def checked(bake: Bake, checkout: Checkout) -> Path:
    """Return a project in which `make check` has passed."""
    folder = checkout(bake())
    passes(folder, "check")
    return folder


# --- Linted, typed, tested -----------------------------------------------------------------------


@pytest.mark.parametrize("answers", BAKES.values(), ids=BAKES)
def test_make_check_passes_at_once_and_changes_no_file(
    bake: Bake, checkout: Checkout, answers: dict[str, str | bool]
) -> None:
    folder = checkout(bake(**answers))
    before = sources(folder)
    printed = passes(folder, "check")
    assert "Success: no issues found" in printed
    assert re.search(r"^Contracts: [0-9]+ kept, 0 broken\.$", printed, re.MULTILINE)
    assert "System check identified no issues (0 silenced)." in printed
    assert sources(folder) == before


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("accounts/extra.py", "X = {  'a':1 }\n", "accounts/extra.py"),
        ("accounts/extra.py", "import os\n", "F401"),
        ("accounts/extra.py", 'COUNT: int = "many"\n', "[assignment]"),
        ("reliable/extra.py", "import accounts.models\n\nUSER = accounts.models.User\n", "BROKEN"),
        ("config/templates/extra.html", "<div><p>\n</div>\n", "extra.html"),
        ("accounts/models.py", NEW_FIELD, "0002"),
        ("accounts/extra.py", TASK_BEFORE_ITS_COMMIT, "reliable.E010"),
    ],
    ids=["format", "lint", "types", "architecture", "templates", "migrations", "tasks"],
)
def test_make_check_refuses_what_breaks_a_rule_and_repairs_nothing(
    checked: Path, name: str, text: str, complaint: str
) -> None:
    extra = checked / name
    found = extra.read_text() if extra.exists() else None
    extra.write_text((found or "") + text)
    try:
        before = sources(checked)
        status, printed = make(checked, "check")
        assert (status, complaint in printed) == (2, True), printed
        assert sources(checked) == before
    finally:
        extra.unlink()
        if found is not None:
            extra.write_text(found)


@pytest.mark.parametrize("which", ["default", "plain", "unbaked"])
def test_make_test_passes_at_once(
    request: pytest.FixtureRequest, bake: Bake, checkout: Checkout, which: str
) -> None:
    folder: Path = (
        request.getfixturevalue("unbaked") if which == "unbaked" else checkout(bake(**BAKES[which]))
    )
    before = sources(folder)
    printed = passes(folder, "test")
    # Nothing is skipped, but for the rules of Prometheus where its promtool is not installed.
    skipped = "" if shutil.which("promtool") or "CI" in os.environ else ", 1 skipped"
    counted = re.search(rf"^=+ ([0-9]+) passed{skipped} in [0-9.]+s.*=+$", printed, re.MULTILINE)
    assert counted, printed
    assert int(counted[1]) > 0
    assert sources(folder) == before


# --- Production ----------------------------------------------------------------------------------


def production(project: Path) -> dict[str, str]:
    """Return the variables of .env.example with the values that it shows for production."""
    shown: dict[str, str] = {}
    text = (project / ".env.example").read_text()
    for name, value in re.findall(r"^(?:# (?:Production: )?)?([A-Z_]+)=(.+)$", text, re.MULTILINE):
        shown.setdefault(name, value)
    del shown["DEBUG"]
    return shown | {"SECRET_KEY": "0123456789" + "aBcDeFgHiJ" * 4}


def production_python(project: Path, *arguments: str) -> tuple[int, str]:
    """Run Python in the project, as a server with an environment file does."""
    file = project.parent / "production.env"
    lines = [f"{name}={value}\n" for name, value in production(project).items()]
    file.write_text("".join(lines))
    return run(project, ".venv/bin/python", *arguments, ENV_FILE=str(file))


@pytest.mark.parametrize("answers", [*BAKES.values(), *ODD], ids=[*BAKES, *range(len(ODD))])
def test_djangos_deployment_checks_find_nothing_whatever_was_answered(
    bake: Bake, checkout: Checkout, answers: Mapping[str, str | bool]
) -> None:
    folder = checkout(bake(**answers))
    status, printed = production_python(
        folder, "manage.py", "check", "--deploy", "--fail-level", "WARNING"
    )
    assert (status, "no issues" in printed) == (0, True), printed
    names = "PROJECT_TITLE", "PROJECT_SLUG", "TIME_ZONE", "ALLOWED_HOSTS"
    code = f"from django.conf import settings as s; print({', '.join(f's.{n}' for n in names)})"
    status, printed = production_python(
        folder, "-c", f"import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'config.settings'; {code}"
    )
    title = answers.get("project_name", "My Shop")
    zone = answers.get("timezone", "UTC")
    hosts = [answers.get("domain", "example.com")]
    assert printed == f"{title} {folder.name} {zone} {hosts}\n"


def test_a_deployment_check_with_a_warning_fails(bake: Bake, checkout: Checkout) -> None:
    folder = checkout(bake())
    settings = folder / "config" / "settings" / "security.py"
    settings.write_text(settings.read_text() + "\nSESSION_COOKIE_SECURE = False\n")
    status, printed = production_python(
        folder, "manage.py", "check", "--deploy", "--fail-level", "WARNING"
    )
    assert (status, "security.W012" in printed) == (1, True), printed


@pytest.mark.parametrize("which", ["default", "plain"])
def test_no_migration_is_missing(bake: Bake, checkout: Checkout, which: str) -> None:
    folder = checkout(bake(**BAKES[which]))
    # No server is asked but for the history; Django only warns where none answers.
    command = ("-W", "ignore::RuntimeWarning", "manage.py", "makemigrations", "--check")
    assert production_python(folder, *command, "--dry-run") == (0, "No changes detected\n")
    models = folder / "accounts" / "models.py"
    models.write_text(models.read_text() + NEW_FIELD)
    status, printed = production_python(folder, *command, "--dry-run")
    assert (status, "accounts/migrations/0002" in printed) == (1, True), printed


# --- make help -----------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["project", "plain_project"])
def test_make_help_lists_each_command_for_people_with_dev_first(
    request: pytest.FixtureRequest, which: str
) -> None:
    project: Path = request.getfixturevalue(which)
    printed = passes(project, "help")
    assert passes(project) == printed  # nothing is installed or started by a bare `make`
    listed = re.findall(r"^  make ([a-z-]+) +(\S.*)$", printed, re.MULTILINE)
    assert len(listed) == len(printed.splitlines())
    on_servers = [name for name, what in listed if "ENV" in what]
    assert len(on_servers) <= 8
    assert len(listed) - len(on_servers) <= 12
    assert listed[0][0] == "dev"
    phony = re.findall(r"^\.PHONY: (.*)$", (project / "Makefile").read_text(), re.MULTILINE)
    # Each command that needs it runs `install` by itself.
    commands = set(" ".join(phony).split()) - {"install"}
    assert {name for name, _ in listed} - {"install"} == commands


# --- Requirements --------------------------------------------------------------------------------


def requirements(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "requirements").glob("*.txt")}


@pytest.mark.parametrize("which", ["default", "odd"])
def test_the_requirements_are_what_make_lock_compiles_whatever_was_answered(
    bake: Bake, checkout: Checkout, which: str
) -> None:
    folder = checkout(bake(**BAKES[which]))
    before = requirements(folder)
    names = ("production", "dev", "browser", "supervisor", "deploy")
    assert set(before) == {f"{name}.txt" for name in names}
    passes(folder, "lock")
    assert requirements(folder) == before


def test_make_lock_adds_a_new_dependency_and_moves_no_other(bake: Bake, checkout: Checkout) -> None:
    folder = checkout(bake())
    before = requirements(folder)
    settings = folder / "pyproject.toml"
    settings.write_text(
        settings.read_text().replace("dependencies = [", 'dependencies = [\n  "django-htmx",')
    )
    passes(folder, "lock")
    after = requirements(folder)
    for name in ("production.txt", "dev.txt"):
        added = set(after[name].splitlines()) - set(before[name].splitlines())
        pins = [line for line in added if re.match(rb"[a-z]", line)]
        assert len(pins) == 1, pins
        assert pins[0].startswith(b"django-htmx=="), pins
    assert after["deploy.txt"] == before["deploy.txt"]


def test_each_requirement_has_an_exact_version_and_hashes(project: Path) -> None:
    for name, data in requirements(project).items():
        entries = re.split(r"\n(?=[a-z])", data.decode().split("\n", maxsplit=2)[2])
        for entry in entries:
            assert re.match(r"[a-z0-9._-]+(?:\[[a-z,]+\])?==\S+", entry), (name, entry)
            assert "--hash=sha256:" in entry, (name, entry)
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    pinned = requirements(project)["production.txt"].decode()
    for dependency in declared:
        package = re.match(r"[A-Za-z0-9_-]+", dependency)
        assert package
        assert re.search(rf"^{package[0].lower()}(?:\[.*\])?==", pinned, re.MULTILINE), dependency
