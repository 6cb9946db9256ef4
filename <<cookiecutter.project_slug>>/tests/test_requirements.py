"""What is installed is what pyproject.toml asks for: after a change there, `make lock`."""

import re
import tomllib
from collections.abc import Iterator

import pytest
from django.conf import settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = settings.SUPERVISOR["directory"]

# A pinned package, its hashes, and who asked for it.
PINNED = re.compile(r"^(?P<pin>\S+==[^\\\n]+?) \\\n(?P<rest>(?: +.*\n)+)", re.MULTILINE)


def asked_for(file: str) -> dict[str, Requirement]:
    """The project's own requirements in a file, by name."""
    pyproject = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    dependencies = pyproject["project"]["dependencies"]
    groups = pyproject["dependency-groups"]
    # As `{ include-group = "supervisor" }` does.
    dev = [text for text in groups["dev"] if isinstance(text, str)] + groups["supervisor"]
    lists = {
        "production": dependencies,
        "dev": [*dependencies, *dev],
        "browser": [*dependencies, *dev, *groups["browser"]],
        "supervisor": groups["supervisor"],
        "deploy": groups["deploy"],
    }
    requirements = [Requirement(text) for text in lists[file]]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def pinned(file: str) -> Iterator[tuple[Requirement, bool]]:
    """Each pin of a compiled file, and whether the project asked for it itself."""
    text = (PROJECT / "requirements" / f"{file}.txt").read_text(encoding="utf-8")
    for match in PINNED.finditer(text):
        yield Requirement(match["pin"].strip()), "project (pyproject.toml" in match["rest"]


@pytest.mark.parametrize("file", ["production", "dev", "browser", "supervisor", "deploy"])
def test_the_compiled_requirements_answer_to_pyproject(file: str) -> None:
    asked = asked_for(file)
    pins: dict[str, list[str]] = {}
    for requirement, direct in pinned(file):
        if direct:
            [specifier] = requirement.specifier
            pins.setdefault(canonicalize_name(requirement.name), []).append(specifier.version)
    assert sorted(pins) == sorted(asked), "run `make lock`"
    for name, versions in pins.items():
        for version in versions:
            assert asked[name].specifier.contains(version), f"{name}: run `make lock`"


@pytest.mark.parametrize("file", ["production", "dev", "browser", "supervisor", "deploy"])
def test_every_package_is_pinned_with_its_hashes(file: str) -> None:
    text = (PROJECT / "requirements" / f"{file}.txt").read_text(encoding="utf-8")
    pins = [line for line in text.splitlines() if line and line[0] not in " #"]
    assert pins
    assert len(pins) == len(list(pinned(file)))
    assert all("--hash=sha256:" in match["rest"] for match in PINNED.finditer(text))
