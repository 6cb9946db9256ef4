"""`make install` works where little is installed, and says what is missing where it cannot."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from terminal import make, passes, run, sources

# What the Makefile, git and the tools of a project call.
TOOLS = """
awk cat chmod cp cut dirname env expr find git grep head id kill ln ls make mkdir mktemp mv ps
readlink rm rmdir sed sh sleep sort tail test touch tr true uname unshare wc
"""

# What an environment has beside a project's packages; it depends on the machine.
INSTALLERS = {"pip", "setuptools", "uv", "wheel"}


@pytest.fixture(scope="module")
def python() -> Path:
    """Return the interpreter itself, not the one of an environment."""
    return Path(sys.executable).resolve()


@pytest.fixture
def bare(tmp_path: Path, python: Path) -> Path:
    """Return a PATH with the tools of a bare system and Python; uv is not among them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS.split():
        if found := shutil.which(tool):
            (folder / tool).symlink_to(found)
    (folder / "python3").symlink_to(python)
    return folder


@pytest.fixture
def fresh(project: Path, tmp_path: Path) -> Path:
    """Return a project in which nothing was installed yet."""
    return Path(shutil.copytree(project, tmp_path / project.name))


@pytest.fixture
def fake(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that makes a command of a shell script."""

    def fake(script: str) -> Path:
        path = tmp_path / "fake-python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return fake


def installed(folder: Path) -> set[str]:
    """Return each package of the project's environment with its version, as NAME==VERSION."""
    code = (
        "import importlib.metadata as m\n"
        "print(*(f'{d.name}=={d.version}' for d in m.distributions()), sep='\\n')"
    )
    status, printed = run(folder, ".venv/bin/python", "-c", code)
    assert status == 0, printed
    return {line for line in printed.splitlines() if line.split("==")[0] not in INSTALLERS}


def test_make_install_works_where_uv_is_missing_and_brings_the_same_packages(
    fresh: Path, bare: Path, packages: Path
) -> None:
    assert shutil.which("uv", path=str(bare)) is None
    passes(fresh, "install", PATH=str(bare))
    assert (fresh / ".venv" / "bin" / "uv").is_file()
    assert installed(fresh) == installed(packages.parent)


def test_make_install_works_with_uv_of_the_system_and_brings_no_second_one(
    fresh: Path, bare: Path, packages: Path
) -> None:
    uv = shutil.which("uv") or packages / "bin" / "uv"
    (bare / "uv").symlink_to(uv)
    passes(fresh, "install", PATH=str(bare))
    assert not (fresh / ".venv" / "bin" / "uv").exists()
    assert installed(fresh) == installed(packages.parent)


@pytest.fixture
def refused(fresh: Path) -> Iterator[Callable[[Path], str]]:
    """Return a function that installs with some Python, in vain, and returns the sentence."""

    def refused(python: Path) -> str:
        status, printed = make(fresh, "install", f"PYTHON={python}")
        assert status == 2, printed
        errors = [line for line in printed.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, printed
        return errors[0].removeprefix("error: ")

    before = sources(fresh)
    yield refused
    assert sources(fresh) == before
    assert not (fresh / ".venv").exists()


def test_a_missing_python_is_named_with_the_line_that_installs_it(
    refused: Callable[[Path], str], tmp_path: Path
) -> None:
    missing = tmp_path / "python3.99"
    assert refused(missing) == f"{missing} is missing: apt-get install python3 python3-venv"


def test_an_old_python_is_named_with_the_line_that_takes_another(
    refused: Callable[[Path], str], fake: Callable[[str], Path], python: Path
) -> None:
    code = "import sys; sys.version_info = (3, 9, 2); exec(sys.argv[1])"
    old = fake(f"""test "$1" = -c && exec {python} -c '{code}' "$2"\nexec {python} "$@" """)
    assert refused(old) == "Python 3.11 or newer is needed: make install PYTHON=python3.13"


def test_a_missing_venv_is_named_with_the_line_that_installs_it_and_leaves_no_half_of_one(
    refused: Callable[[Path], str], fake: Callable[[str], Path], python: Path
) -> None:
    # As Debian's Python without python3-venv does.
    broken = fake(
        'test "$2" = venv || exec ' + str(python) + ' "$@"\n'
        f"mkdir -p .venv/bin && ln -s {python} .venv/bin/python\n"
        "echo 'ensurepip is not available.'; exit 1"
    )
    assert refused(broken) == "Python cannot make environments: apt-get install python3-venv"
