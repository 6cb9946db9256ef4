"""A clean copy of the template, and projects generated from it.

Nothing of the developer's own configuration, replays or cloned templates has an influence, and
nothing outside of pytest's temporary folder is written.
"""

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
from cookiecutter.main import cookiecutter
from terminal import passes, sources

ROOT = Path(__file__).parents[1]
SOURCES = "<<cookiecutter.project_slug>>"


Checkout = Callable[[Path], Path]


def ansible_filter(plugin: str, name: str) -> Callable[..., Any]:
    """Return a filter of the project's playbooks; `plugin` is its module in `filter_plugins/`."""
    path = ROOT / SOURCES / "deploy" / "filter_plugins" / f"{plugin}.py"
    specification = importlib.util.spec_from_file_location(plugin, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    found: Callable[..., Any] = module.FilterModule().filters()[name]
    return found


class Bake(Protocol):
    def __call__(self, **answers: str | bool) -> Path: ...


@pytest.fixture(autouse=True, scope="session")
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give cookiecutter, cruft and git an empty home, and leave no bytecode in the template."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        patch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        for who in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{who}_NAME", "Template Tests")
            patch.setenv(f"GIT_{who}_EMAIL", "tests@example.com")
        patch.setattr("sys.dont_write_bytecode", True)
        yield


@pytest.fixture(scope="session")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a user configuration for cookiecutter that points into a temporary folder."""
    folder = tmp_path_factory.mktemp("cookiecutter")
    config = {
        "cookiecutters_dir": str(folder / "templates"),
        "replay_dir": str(folder / "replay"),
        "default_context": {},
    }
    path = folder / "config.yml"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the files that git knows or would add, so no cache is ever baked."""
    target = tmp_path_factory.mktemp("template") / "cookiecutter-reliable-celery"
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.check_output(command, cwd=ROOT, text=True)
    for name in filter(None, listing.split("\0")):
        source = ROOT / name
        if source.is_file():  # not one that is deleted and not yet committed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    return target


@pytest.fixture(scope="session")
def context(template: Path) -> dict[str, object]:
    """Return cookiecutter.json as it stands."""
    loaded: dict[str, object] = json.loads((template / "cookiecutter.json").read_text())
    return loaded


@pytest.fixture(scope="session")
def prompts(context: Mapping[str, object]) -> set[str]:
    """Return the names of the questions."""
    return {name for name in context if not name.startswith("_")}


@pytest.fixture(scope="session")
def bake(
    template: Path,
    prompts: set[str],
    config_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bake:
    """Return a function that generates a project in a new folder and returns its path."""

    def bake(**answers: str | bool) -> Path:
        # Cookiecutter drops an answer without a question silently.
        assert set(answers) <= prompts
        project = cookiecutter(
            str(template),
            no_input=True,
            extra_context=answers,
            output_dir=str(tmp_path_factory.mktemp("bake")),
            config_file=str(config_file),
        )
        return Path(project)

    return bake


@pytest.fixture(scope="session")
def project(bake: Bake) -> Path:
    """Return a project from the default answers; not to be changed."""
    return bake()


@pytest.fixture(scope="session")
def plain_project(bake: Bake) -> Path:
    """Return a project without the example; not to be changed."""
    return bake(example_app=False)


@pytest.fixture(scope="session")
def packages(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment that `make install` made in a project just generated."""
    folder = tmp_path_factory.mktemp("first") / project.name
    shutil.copytree(project, folder)
    passes(folder, "install")
    assert sources(folder) == sources(project)
    return folder / ".venv"


@pytest.fixture(scope="session")
def checkout(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a function that copies a project, with everything installed."""

    def checkout(project: Path) -> Path:
        folder = tmp_path_factory.mktemp("checkout") / project.name
        shutil.copytree(project, folder)
        (folder / ".venv").symlink_to(packages)
        (packages / "installed").touch()  # newer than the copied requirements
        return folder

    return checkout


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return the mode and contents of every file, and the mode of every folder, by path."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


def texts(folder: Path) -> dict[str, str]:
    """Return the text of every file that is not binary, by path."""
    return {
        name: data.decode()
        for name, (_, data) in tree(folder).items()
        if (folder / name).is_file() and b"\0" not in data
    }
