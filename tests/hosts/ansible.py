"""Ansible in an environment made once: what a project installs for itself, and the linters."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from hosts.foundation import PROJECT, HostsError, cache, locked

ROOT = PROJECT.parent
REQUIREMENTS = PROJECT / "requirements" / "deploy.txt"


def environment() -> Path:
    """Return the environment's folder, as `make` leaves it in deploy/.venv."""
    made_from = REQUIREMENTS.read_bytes() + (ROOT / "pyproject.toml").read_bytes()
    folder = cache() / f"ansible-{hashlib.sha256(made_from).hexdigest()[:12]}"
    with locked(cache() / "ansible.lock"):
        if not (folder / "installed").exists():
            print("Installing Ansible for the tests, once.", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            uv, python = shutil.which("uv") or "uv", folder / "bin" / "python"
            install = [uv, "pip", "install", "--quiet", "--python", str(python)]
            _run([uv, "venv", "--quiet", str(folder)])
            _run([*install, "--require-hashes", "--requirements", str(REQUIREMENTS)])
            _run([*install, "--group", f"{ROOT / 'pyproject.toml'}:hosts"])
            (folder / "installed").touch()
    os.utime(folder / "installed")  # newer than the requirements that were copied into a project
    return folder


def _run(command: list[str]) -> None:
    completed = subprocess.run(command, check=False, capture_output=True, text=True)
    if completed.returncode:
        raise HostsError(f"{' '.join(command)} failed:\n{completed.stderr}")
