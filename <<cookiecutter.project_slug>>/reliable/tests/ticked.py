"""A schedule of one entry, and beats that tick it in this process."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from celery import current_app

from reliable.jobs.models import Job, Schedule
from reliable.jobs.schedule.ticker import Ticker
from reliable.schedule import Entry, every, validate
from reliable.testing import jobs

NOTE = jobs.note.name
HOUR = timedelta(hours=1)


def schedule(when: Any = None, task: str = NOTE, **fields: Any) -> dict[str, Entry]:
    if task == NOTE:
        fields.setdefault("args", ("a",))
    return validate({"entry": Entry(task, when or every(hours=1), **fields)}, "UTC")


def ticker(entries: Mapping[str, Entry]) -> Ticker:
    return Ticker(current_app, entries)


def behind(entries: Mapping[str, Entry], by: timedelta) -> Ticker:
    """A beat that finds its entry as one left it that was ended so long ago."""
    beat = ticker(entries)
    beat.round()
    row = Schedule.objects.get(name="entry")
    Schedule.objects.update(last_due=row.last_due - by)
    return beat


def dues() -> list[datetime]:
    return sorted(datetime.fromisoformat(job.headers["due"]) for job in Job.objects.all())
