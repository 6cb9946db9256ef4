"""The admin's pages of jobs and queues as somebody reads them, and tasks whose jobs they show."""

import re
from typing import Any

from django.test import Client

from reliable.jobs import durable_task
from reliable.jobs.models import Job
from reliable.tests import staff

JOBS = "/admin/reliable_jobs/job/"
QUEUES = "/admin/reliable_jobs/queue/"


RAISED_BY = f"{__name__}.called_by_the_task"


def called_by_the_task(number: int) -> None:
    if number % 2:
        raise ValueError(f"{number} is odd")
    raise LookupError(f"{number} is not there")


@durable_task(queue="mail", max_attempts=1, secret=["token"])
def post(number: int, token: str = "") -> None:
    called_by_the_task(number)


@durable_task(queue="default", max_attempts=1)
def parse(text: str) -> int:
    return int(text)


def a_job(state: str = "failed", task: str = post.name, **columns: Any) -> Job:
    return staff.a_job(task, state, **columns)


def seen(client: Client, address: str, **data: Any) -> str:
    answer = client.get(address, data)
    assert answer.status_code == 200, answer
    return answer.content.decode()


def listed(client: Client, **filters: str) -> set[str]:
    return set(re.findall(r"job/([0-9a-f-]{36})/change/", seen(client, JOBS, **filters)))
