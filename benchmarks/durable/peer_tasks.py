"""The same tasks for procrastinate and for django-tasks."""

from django_tasks import task
from procrastinate.contrib.django import app

from durable import bodies


@app.task(queue="default")  # type: ignore[untyped-decorator]
def procrastinate_noop(number: int) -> None: ...


@app.task(queue="default")  # type: ignore[untyped-decorator]
def procrastinate_effect(number: int) -> None:
    bodies.one_insert(number)


@task()  # type: ignore[untyped-decorator]
def django_tasks_noop(number: int) -> None: ...


@task()  # type: ignore[untyped-decorator]
def django_tasks_effect(number: int) -> None:
    bodies.one_insert(number)
