"""What others say of a fault at the moment when the probes have named it.

Asked only where WITNESSES names a file to write to: `make benchmark B=witnesses`, which installs
django-health-check for it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings

from reliable.testing.system import System

# Its view, with the one check that it has for Celery.
_VIEW = """
import asyncio, inspect
import django
django.setup()
from django.conf import settings
settings.INSTALLED_APPS += ["health_check"]
from django.test import RequestFactory
from health_check.views import HealthCheckView
view = HealthCheckView.as_view(checks=["health_check.contrib.celery.Ping"])
request = RequestFactory().get("/", headers={"accept": "application/json"})
answer = view(request)
answer = asyncio.run(answer) if inspect.isawaitable(answer) else answer
print(answer.status_code)
"""


def wanted() -> bool:
    return "WITNESSES" in os.environ


def ask(system: System, case: str) -> None:
    """Note whether `inspect ping` and django-health-check see that something is wrong."""
    ping = _run(
        system,
        "-m",
        "celery",
        "--app",
        settings.SUPERVISOR["celery_app"],
        "inspect",
        "ping",
        "--timeout",
        "3",
    )
    view = _run(system, "-c", _VIEW)
    said = {
        "case": case,
        "inspect ping": ping.returncode != 0,
        "django-health-check": view.stdout.strip() != "200",
        "view": (view.stdout + view.stderr[-300:]).strip(),
    }
    with Path(os.environ["WITNESSES"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(said) + "\n")


def _run(system: System, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=settings.SUPERVISOR["directory"],
        # Not through a proxy that a test has frozen.
        env={
            **system.environment,
            "BROKER_URL": system.servers.broker.broker_url(system.broker_database),
        },
        capture_output=True,
        text=True,
        check=False,
    )
