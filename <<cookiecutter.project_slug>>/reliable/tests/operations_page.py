"""The operations page as somebody reads it."""

from django.test import Client
from django.utils import timezone

from reliable.jobs import ids
from reliable.jobs.models import Job
from reliable.probes.admin.overview import Overview
from reliable.probes.admin.rows import QueueRow
from reliable.tests.staff import words

PAGE = "/admin/reliable_probes/target/"


def said(client: Client, address: str = PAGE) -> str:
    """The words of a page, as a person reads them."""
    answer = client.get(address)
    assert answer.status_code == 200, answer
    return words(answer.content.decode())


def row(now: Overview, name: str) -> QueueRow:
    [found] = [each for each in now.queues if each.name == name]
    return found


def fail(number: int, task: str = "orders.tasks.charge_order") -> None:
    """So many jobs of a task have failed for the same reason."""
    Job.objects.bulk_create(
        Job(
            id=ids.new(),
            task=task,
            queue="mail",
            state="failed",
            exception="ProviderAway",
            place="orders.payments.charge",
            error="ProviderAway: 503",
            finished_at=timezone.now(),
        )
        for _ in range(number)
    )
