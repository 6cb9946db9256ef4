"""A newly generated project to measure; its environment is kept for the next benchmark."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

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
    """Run a script with the project's Python in the project's folder; return its exit status."""
    project = generated(*packages)
    # What a shell exports for another project stays outside.
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "LANG") if name in os.environ}
    return subprocess.run(
        [project / ".venv/bin/python", script, *arguments],
        cwd=project,
        env={**kept, "PYTHONPATH": str(project)},
        check=False,
    ).returncode
