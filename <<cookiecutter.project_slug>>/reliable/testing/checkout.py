"""A copy of the project, as a developer or a deploy has it, and what runs in it."""

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

from django.conf import settings

from reliable.testing.processes import MARKER, Process

_NOT_COPIED = shutil.ignore_patterns(".venv", ".run", ".git", ".env", "__pycache__", ".*_cache")


class Checkout:
    """A copy with a development .env; its commands see nothing of the test's environment."""

    def __init__(self, directory: Path, marker: str) -> None:
        self.directory = directory
        shutil.copytree(settings.SUPERVISOR["directory"], directory, ignore=_NOT_COPIED)
        (directory / ".env").write_text("DEBUG=True\nSECRET_KEY=only-for-this-test\n")
        kept = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
        self.environment = {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "PYTHONUNBUFFERED": "1",
            MARKER: marker,
        }

    def start(self, *arguments: str) -> Process:
        return Process(
            arguments[0],
            [sys.executable, "manage.py", *arguments],
            environment=self.environment,
            directory=self.directory,
            log=self.directory.parent / f"{arguments[0]}-{uuid.uuid4().hex[:6]}.log",
        ).start()

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of manage.py's commands to its end."""
        return self.python("manage.py", *arguments)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def append(self, file: str, text: str) -> None:
        with (self.directory / file).open("a", encoding="utf-8") as opened:
            opened.write(text)
