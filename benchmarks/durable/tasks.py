"""The same tasks, plain and durable; workers load them with `--include`.

The plain ones are Celery's own: `DjangoTask`, not the project's Task, which does more at a call.
"""

from celery import shared_task
from celery.contrib.django.task import DjangoTask
from reliable.jobs import durable_task

from durable import bodies


@shared_task(base=DjangoTask, acks_late=True, queue="default")  # type: ignore[untyped-decorator]
def plain_noop(number: int) -> None: ...


@durable_task(queue="default")  # type: ignore[untyped-decorator]
def durable_noop(number: int) -> None: ...


@shared_task(base=DjangoTask, acks_late=True, queue="default")  # type: ignore[untyped-decorator]
def plain_effect(number: int) -> None:
    bodies.one_insert(number)


@durable_task(queue="default")  # type: ignore[untyped-decorator]
def durable_effect(number: int) -> None:
    bodies.one_insert(number)


@durable_task(queue="default", batch=50)  # type: ignore[untyped-decorator]
def durable_batched(number: int) -> None:
    bodies.one_insert(number)


@shared_task(base=DjangoTask, acks_late=True, queue="default")  # type: ignore[untyped-decorator]
def plain_start(name: str) -> None:
    bodies.note_start(name)


@durable_task(queue="default")  # type: ignore[untyped-decorator]
def durable_start(name: str) -> None:
    bodies.note_start(name)
