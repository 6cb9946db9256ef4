"""A newly generated project to measure; its environment is kept for the next benchmark."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "measured"
PROJECT = BUILD / "my_shop"


def generate(folder: Path) -> None:
    """Generate the default project into a folder, as a user's first command does."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            *(sys.executable, "-m", "cookiecutter", str(ROOT)),
            *("--no-input", "--default-config", "--output-dir", str(folder)),
        ],
        check=True,
    )


def generated(*packages: str) -> Path:
    """Generate the project from the sources, install it and `packages`; return its folder."""
    environment = BUILD / "environment"
    if (PROJECT / ".venv").exists():
        shutil.move(PROJECT / ".venv", environment)
    shutil.rmtree(PROJECT, ignore_errors=True)
    generate(BUILD)
    if environment.exists():
        shutil.move(environment, PROJECT / ".venv")
    subprocess.run(["make", "install"], cwd=PROJECT, check=True)
    if packages:
        install = [
            *("uv", "pip", "install", "--quiet", "--python"),
            str(PROJECT / ".venv/bin/python"),
        ]
        subprocess.run([*install, *packages], check=True)
    return PROJECT


def run(script: Path, *arguments: str, packages: tuple[str, ...] = ()) -> int:
    """Run a script with the project's Python in the project's folder; return its exit status.

    The script calls `end_once`: TERM and Ctrl-C are passed on to it, and waited for.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        project = generated(*packages)
    except KeyboardInterrupt:
        return 128 + signal.SIGTERM
    # What a shell exports for another project stays outside.
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "LANG") if name in os.environ}
    with subprocess.Popen(
        [project / ".venv/bin/python", script, *arguments],
        cwd=project,
        env={**kept, "PYTHONPATH": str(project)},
    ) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            return process.wait()


def end_once() -> None:
    """Let the first TERM or Ctrl-C raise KeyboardInterrupt, and none after it: servers must end."""

    def interrupt(*_: object) -> NoReturn:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
