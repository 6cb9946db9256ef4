"""A project follows the template with cruft, and keeps what the team changed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SOURCES


def git(folder: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.check_output(command, cwd=folder, text=True)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a change")


def cruft(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cruft", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def repository(template: Path, tmp_path: Path) -> Path:
    """Return a git repository of the template with one commit."""
    folder = Path(shutil.copytree(template, tmp_path / "template"))
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder)
    return folder


def create(repository: Path, **answers: str | bool) -> Path:
    """Return a project that cruft made, committed to git."""
    extra = json.dumps(answers)
    cruft(repository.parent, "create", str(repository), "--no-input", "--extra-context", extra)
    project = repository.parent / "my_shop"
    git(project, "init", "--quiet", "--initial-branch", "main")
    commit(project)
    return project


def test_a_fresh_project_is_up_to_date_and_like_cookiecutters(
    repository: Path, project: Path
) -> None:
    made = create(repository)
    cruft(made, "check")
    assert cruft(made, "diff", "--exit-code") == ""
    (made / ".cruft.json").unlink()
    shutil.rmtree(made / ".git")
    names = {path.relative_to(made) for path in made.rglob("*")}
    assert names == {path.relative_to(project) for path in project.rglob("*")}


@pytest.mark.parametrize("example_app", [True, False])
def test_an_update_brings_the_templates_change_and_keeps_the_teams(
    repository: Path, *, example_app: bool
) -> None:
    # Given a project, with a line of the team's own in a file that the template changes later
    project = create(
        repository, example_app=example_app, project_name="Café Bücher", project_slug="my_shop"
    )
    settings = project / "pyproject.toml"
    settings.write_text("# the team's line\n" + settings.read_text())
    commit(project)

    # When the template changes that file, adds one, touches the example, and has a new version
    for name in ("pyproject.toml", "shop/apps.py", "config/settings/core.py"):
        source = repository / SOURCES / name
        source.write_text(source.read_text() + "\n# the template's line\n")
    (repository / SOURCES / "config" / "new.txt").write_text("<<cookiecutter.project_slug>>\n")
    context = repository / "cookiecutter.json"
    version = json.loads(context.read_text())["_template_version"]
    context.write_text(context.read_text().replace(f'"{version}"', '"99.0.0"'))
    commit(repository)
    cruft(project, "update", "--skip-apply-ask")

    # Then both sides' lines are there, without a conflict, and only the files that changed
    text = settings.read_text()
    assert text.startswith("# the team's line\n")
    assert text.endswith("# the template's line\n")
    assert 'template_version = "99.0.0"' in text
    assert (project / "config" / "new.txt").read_text() == "my_shop\n"
    assert (project / "shop").exists() == example_app
    git(project, "diff", "--check", "HEAD")
    changed = {".cruft.json", "config/new.txt", "config/settings/core.py", "pyproject.toml"}
    commit(project)
    listing = git(project, "diff", "--name-only", "HEAD~1").split()
    assert set(listing) == changed | ({"shop/apps.py"} if example_app else set())
    cruft(project, "check")


def test_an_update_does_not_bring_back_an_example_that_was_removed_later(
    repository: Path,
) -> None:
    project = create(repository)
    subprocess.run([sys.executable, "shop/remove.py"], cwd=project, check=True)
    commit(project)
    source = repository / SOURCES / "shop" / "apps.py"
    source.write_text(source.read_text() + "\n# the template's line\n")
    commit(repository)
    cruft(project, "update", "--skip-apply-ask")
    assert not (project / "shop").exists()
    assert "example: " not in (project / "config" / "urls.py").read_text()
    assert not list(project.rglob("*.rej"))
    cruft(project, "check")
