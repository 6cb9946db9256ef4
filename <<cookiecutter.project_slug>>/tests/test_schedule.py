"""What beat sends, and whether somebody would run it."""

from celery import current_app
from django.conf import settings

from reliable.jobs.schedule.calls import problems
from reliable.startup import load_tasks


def test_each_entry_names_a_task_that_exists_and_takes_its_arguments() -> None:
    load_tasks(current_app)
    assert settings.SCHEDULE
    assert problems() == []
