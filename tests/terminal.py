"""Commands in the environment of a terminal in which somebody just generated a project."""

import os
import re
import subprocess
from pathlib import Path

# Where uv keeps its cache by default; noted before the tests get an empty home.
CACHE = os.environ.get("UV_CACHE_DIR") or str(
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"
)

# Reaching the package index, and files that appear in no listing: the rest of this run's
# environment stays here, such as the MAKEFLAGS of a `make test T=…` around it.
KEPT = re.compile(
    r"PATH|HOME|LANG|TMPDIR|PYTHONDONTWRITEBYTECODE|REQUESTS_CA_BUNDLE"
    r"|(?:LC|GIT|PIP|UV|SSL)_.*|(?:https?|no|all)_proxy",
    re.IGNORECASE,
)

MADE = {".env", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".run", ".venv", "__pycache__"}

# Seconds. No command takes a quarter of it, unless it hangs.
TIMEOUT = 600.0


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a terminal, with uv's real cache."""
    kept = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
    return kept | {"UV_CACHE_DIR": CACHE} | changes


def run(folder: Path, *command: str, **changes: str) -> tuple[int, str]:
    """Run a command; return its exit status and everything that it printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return done.returncode, done.stdout


def make(folder: Path, *arguments: str, **changes: str) -> tuple[int, str]:
    return run(folder, "make", *arguments, **changes)


def passes(folder: Path, *arguments: str, **changes: str) -> str:
    """Return what a `make` printed that has to succeed."""
    status, printed = make(folder, *arguments, **changes)
    assert status == 0, printed
    return printed


def sources(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and contents of what was generated, without what tools made."""
    found = {}
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in MADE]
        for path in (Path(where, name) for name in files if name not in MADE):
            found[str(path.relative_to(folder))] = path.stat().st_mode, path.read_bytes()
    return found
