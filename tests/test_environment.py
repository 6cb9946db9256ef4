"""The repository can be used anywhere: it names no machine of ours, and no package registry."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

# In parts, so that this file itself keeps the rule.
REGISTRIES = [
    "pypi" + ".org",
    "files.pythonhosted" + ".org",
    "registry.npmjs" + ".org",
    "deb.debian" + ".org",
]

# Their formats record the address of the registry that a package came from.
LOCKS = re.compile(
    r"uv\.lock|pylock(\..+)?\.toml|poetry\.lock|pdm\.lock|Pipfile\.lock"
    r"|package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml"
)

# A path that starts with the home of an account, or with the folder of a workplace.
MACHINE = re.compile(r"(?<![\w.~}])/(?:home/\w|Users/\w|root/|work/)")


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """Return the text of each file that git knows or would add, by path."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output(command, cwd=ROOT, text=True).split("\0")
    return {
        name: (ROOT / name).read_text(encoding="utf-8", errors="replace")
        for name in names
        if name and (ROOT / name).is_file()
    }


def places(files: dict[str, str], pattern: re.Pattern[str]) -> list[str]:
    """Return file, line number and line of each match."""
    return [
        f"{name}:{number}: {line}"
        for name, text in files.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def test_no_file_names_a_package_registry_so_each_machine_uses_its_own(
    files: dict[str, str],
) -> None:
    hosts = re.compile("|".join(map(re.escape, REGISTRIES)), re.IGNORECASE)
    options = re.compile(r"^\s*(?:--index-url|--extra-index-url|--find-links)[ =]")
    assert places(files, hosts) == []
    assert places(files, options) == []


def test_no_lock_file_records_the_addresses_of_a_registry(files: dict[str, str]) -> None:
    assert [name for name in files if LOCKS.fullmatch(Path(name).name)] == []


def test_no_file_knows_a_path_of_the_machine_that_it_was_written_on(
    files: dict[str, str],
) -> None:
    assert places(files, MACHINE) == []


def test_what_would_break_these_rules_is_noticed() -> None:
    assert MACHINE.search('path = "/ho' + 'me/ada/shop"')
    assert MACHINE.search("cd /ro" + "ot/project")
    assert not MACHINE.search("https://example.com/work/1 and ../root/x and {{ base }}/home/ada")
    assert LOCKS.fullmatch("pylock.dev.toml")
    assert not LOCKS.fullmatch("uv_lock.md")


def test_each_workflow_of_the_template_and_of_a_project_is_yaml_with_jobs(
    project: Path, plain_project: Path
) -> None:
    for folder in (ROOT, project, plain_project):
        for workflow in sorted((folder / ".github" / "workflows").glob("*.y*ml")):
            loaded = yaml.safe_load(workflow.read_text(encoding="utf-8"))
            assert isinstance(loaded, dict), workflow
            assert loaded["jobs"], workflow
            assert all("steps" in job or "uses" in job for job in loaded["jobs"].values()), workflow
