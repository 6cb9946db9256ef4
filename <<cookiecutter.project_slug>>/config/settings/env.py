"""Environment variables, parsed strictly: `DEBUG=flase` is an error, not False.

They come from the process, and for what is not set there from one file: `.env` in the project,
or the one that ENV_FILE names. Web, workers, beat and `manage.py` all read the same.
Reference: https://github.com/sloria/environs
"""

import os
from pathlib import Path
from typing import Any

from environs import Env

BASE_DIR = Path(__file__).resolve().parents[2]

env = Env()
env.read_env(os.environ.get("ENV_FILE", str(BASE_DIR / ".env")), recurse=False)

# Readable errors, never shown to a visitor: only on a developer's machine.
DEBUG = env.bool("DEBUG", default=False)


def only_in_development(default: str) -> dict[str, Any]:
    """A default that production has to replace, as a keyword argument for `env`."""
    return {"default": default} if DEBUG else {}
