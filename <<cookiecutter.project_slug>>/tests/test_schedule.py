"""What beat sends, and whether somebody would run it."""

import pytest
from celery import current_app
from django.conf import settings

from config.schedule import SCHEDULE
from reliable.startup import undeclared_routes


@pytest.mark.parametrize("entry", SCHEDULE)
def test_each_entry_names_a_task_that_exists_and_has_a_queue(entry: str) -> None:
    undeclared = undeclared_routes(current_app, settings.QUEUES)
    task = SCHEDULE[entry]["task"]
    assert task in current_app.tasks
    assert task not in undeclared


@pytest.mark.parametrize("entry", SCHEDULE)
def test_a_tick_that_nobody_took_in_time_is_dropped(entry: str) -> None:
    """Otherwise a worker that was down for a day runs all of a day's ticks at once."""
    assert SCHEDULE[entry]["options"]["expires"] > 0
