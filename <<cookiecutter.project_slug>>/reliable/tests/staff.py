"""Somebody of the staff at his browser, and rows of jobs for him to look at."""

import re
import uuid
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from reliable.jobs import ids
from reliable.jobs.models import Job
from reliable.jobs.states import FINISHED


def somebody(name: str, *permissions: str) -> Client:
    """With these permissions, signed in."""
    user = get_user_model().objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client(headers={"x-forwarded-proto": "https"})
    client.force_login(user)
    return client


def words(page: str) -> str:
    """The words of a page of the admin, as a person reads them."""
    main = page.rsplit('id="content-main"', maxsplit=1)[-1]
    return " ".join(re.sub(r"<[^>]*>", " ", main).split())


def state_of(job: Job) -> str:
    return Job.objects.values_list("state", flat=True).get(pk=job.pk)


def a_job(task: str, state: str, **columns: Any) -> Job:
    """A row as some release may have left it."""
    held = {"worker": uuid.uuid4(), "started_at": timezone.now(), "deadline_at": timezone.now()}
    defaults = {
        "id": ids.new(),
        "queue": "mail",
        "args": [1],
        "finished_at": timezone.now() if state in FINISHED else None,
        **(held if state == "running" else {}),
    }
    return Job.objects.create(task=task, state=state, **{**defaults, **columns})
