"""The project under test as its team changes it: the app `drill` in it, and a commit a release."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
AUTHOR = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


def begin(folder: Path) -> None:
    """Put the drill into a generated project, and commit all of it."""
    no_cache = shutil.ignore_patterns("__pycache__")
    shutil.copytree(HERE / "drill", folder / "drill", ignore=no_cache, dirs_exist_ok=True)
    replace(
        folder / "config/settings/core.py", '    "accounts",\n', '    "accounts",\n    "drill",\n'
    )
    replace(
        folder / "config/urls.py",
        "urlpatterns = [\n",
        'urlpatterns = [\n    path("", include("drill.urls")),\n',
    )
    # Ansible's environment is a link here, and so no folder.
    ignored = folder / ".gitignore"
    ignored.write_text(f"{ignored.read_text()}deploy/.venv\n")
    git(folder, "init", "--quiet")
    git(folder, "config", "user.name", "Ann Example")
    git(folder, "config", "user.email", "ann@example.com")
    commit(folder, "Begin")


def commit(folder: Path, message: str, edits: Mapping[str, str | None] | None = None) -> str:
    """Write files (None: delete) and commit; return the name of the release that it makes."""
    for name, text in (edits or {"RELEASE_NOTES": message}).items():
        path = folder / name
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
    return release(folder)


def release(folder: Path, commit: str = "HEAD") -> str:
    """The name that a deploy of the commit gives its release."""
    return git(
        folder, "show", "--no-patch", "--date=format-local:%Y%m%d-%H%M", "--abbrev=7",
        "--format=%cd-%h", commit,
    )  # fmt: skip


def replace(path: Path, old: str, new: str) -> str:
    """Replace text that is there exactly once; return what the file was."""
    text = path.read_text()
    assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))
    return text


def git(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, **AUTHOR, "TZ": "UTC"}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment
    ).stdout.strip()
