"""What Ansible's own linters say of a generated project's `deploy/`."""

import subprocess
from pathlib import Path

import pytest

from hosts import ansible

pytestmark = pytest.mark.hosts


def lint(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = ansible.environment()
    return subprocess.run(
        [str(environment / "bin" / command[0]), *command[1:]],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": f"{environment / 'bin'}:/usr/bin:/bin", "HOME": str(folder), "NO_COLOR": "1"},
    )


def test_ansible_lint_finds_nothing_by_its_strictest_profile(project: Path, tmp_path: Path) -> None:
    deploy = copied(project, tmp_path)
    result = lint(deploy, "ansible-lint", "--offline", "--profile", "production")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Profile 'production' was required, and it passed" in result.stderr


def test_yamllint_finds_nothing(project: Path, tmp_path: Path) -> None:
    deploy = copied(project, tmp_path)
    result = lint(deploy, "yamllint", "--strict", ".")
    assert result.returncode == 0, result.stdout


def test_the_linters_notice_what_they_are_there_for(project: Path, tmp_path: Path) -> None:
    deploy = copied(project, tmp_path)
    tasks = deploy / "roles" / "base" / "tasks" / "main.yml"
    tasks.write_text("- shell: ls  \n")
    noticed = lint(deploy, "ansible-lint", "--offline", "--profile", "production", str(tasks))
    assert noticed.returncode == 2
    assert "fqcn" in noticed.stdout
    assert "trailing-spaces" in lint(deploy, "yamllint", "--strict", ".").stdout


def copied(project: Path, folder: Path) -> Path:
    """The linters write caches; and templates look at the project's own files."""
    target = folder / project.name
    subprocess.run(["cp", "--recursive", str(project), str(target)], check=True)
    return target / "deploy"
