"""`manage.py jobs` as an operator calls it, and tasks whose jobs he sees there."""

import json
from io import StringIO
from typing import Any

from django.core.management import call_command

from reliable.jobs import durable_task
from reliable.jobs.models import Job
from reliable.tests import staff


@durable_task(queue="mail", tags=["post"])
def post(number: int, *, copy: bool = False) -> None:
    if number < 0:
        raise ValueError(f"{number} is no number")


@durable_task(queue="default", secret=["password"], max_attempts=1)
def sign_in(user: str, password: str) -> str:
    if user == "mallory":
        raise PermissionError(f"{password} is wrong")
    return f"{user} used {password}"


def jobs(*arguments: str) -> str:
    """What the command prints."""
    out = StringIO()
    call_command("jobs", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def machine(*arguments: str) -> Any:
    """What it answers to a machine."""
    return json.loads(jobs(*arguments, "--json"))


def a_job(state: str = "waiting", task: str = post.name, **columns: Any) -> Job:
    return staff.a_job(task, state, **columns)
