"""Tasks of both kinds on every queue; config/queues.yml routes them by their names."""

import time

from celery import shared_task
from django.conf import settings
from drill.models import Effect
from reliable.jobs import durable_task


def note(task: str, kind: str, event: str) -> None:
    Effect.objects.create(task=task, kind=kind, event=event, release=settings.RELEASE)


def work(task: str, kind: str, seconds: float) -> None:
    """Take `seconds`; below zero until somebody notes that the task may end."""
    note(task, kind, "begun")
    if seconds < 0:
        while not Effect.objects.filter(task=task, event="freed").exists():
            time.sleep(1)
    time.sleep(max(0, seconds))
    note(task, kind, "ended")


@shared_task
def short_plain(task: str) -> None:
    note(task, "short_plain", "ended")


@durable_task
def short_durable(task: str) -> None:
    """One transaction with the job's end: its effect is there once, whatever is killed."""
    note(task, "short_durable", "ended")


@shared_task
def report_plain(task: str, seconds: float) -> None:
    work(task, "report_plain", seconds)


@durable_task(atomic=False)
def report_durable(task: str, seconds: float) -> None:
    work(task, "report_durable", seconds)


@shared_task
def email_plain(task: str) -> None:
    note(task, "email_plain", "ended")


@durable_task
def charge_durable(task: str) -> None:
    note(task, "charge_durable", "ended")


@durable_task(atomic=False)
def charge_long(task: str, seconds: float) -> None:
    work(task, "charge_long", seconds)


# Those that take seconds, not a number of tasks.
LONG = {"report_plain", "report_durable", "charge_long"}
KINDS = {
    each.name.rpartition(".")[2]: each
    for each in (
        short_plain,
        short_durable,
        report_plain,
        report_durable,
        email_plain,
        charge_durable,
        charge_long,
    )
}
