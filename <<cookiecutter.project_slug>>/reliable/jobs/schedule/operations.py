"""What an operator does to entries of the schedule."""

from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn
from uuid import UUID

import structlog
from celery import current_app
from django.db import transaction

from reliable.jobs.database import rows
from reliable.jobs.models import Schedule
from reliable.jobs.schedule import calls, sql
from reliable.jobs.schedule.status import database_now
from reliable.jobs.times import Refused
from reliable.schedule import declared

logger = structlog.stdlib.get_logger("reliable.jobs")


@dataclass(frozen=True)
class Started:
    """What `run_now` has enqueued or sent: one of the two."""

    job: UUID | None = None
    task_id: str | None = None

    def __str__(self) -> str:
        return f"job {self.job}" if self.job else f"task {self.task_id}"


def pause(name: str, *, by: str) -> datetime:
    """Let the entry tick no more; return since when. What was enqueued runs. Raises Refused."""
    entry = declared().get(name)
    with transaction.atomic():
        if entry and not Schedule.objects.filter(name=name).exists():
            # Before its first beat: it must not begin with a tick.
            Schedule.objects.bulk_create(
                [Schedule(name=name, timing=entry.timing)], ignore_conflicts=True
            )
        found = rows(sql.PAUSE, {"name": name, "by": by})
    if not found:
        _refuse(name)
    logger.info("schedule.paused", entry=name, by=by)
    since: datetime = found[0][0]
    return since


def resume(name: str, *, by: str) -> datetime | None:
    """Let the entry go on with its next tick; return since when it was paused, None if it was not.

    Raises Refused.
    """
    if found := rows(sql.RESUME, {"name": name}):
        logger.info("schedule.resumed", entry=name, by=by)
        since: datetime = found[0][0]
        return since
    if name not in declared() and not Schedule.objects.filter(name=name).exists():
        _refuse(name)
    return None


def run_now(name: str, *, by: str) -> Started:
    """Call the entry's task once, beside its ticks and although it is paused.

    `current_job().due` is the present moment. Raises Refused, and what the broker's libraries do if
    the task is a plain one.
    """
    entry = declared().get(name)
    if entry is None:
        _refuse(name)
    if calls.durable(entry):
        started = Started(job=calls.insert(name, entry, database_now()))
    else:
        started = Started(task_id=calls.send(current_app, entry))
    ids = {"job_id": str(started.job)} if started.job else {"task_id": started.task_id}
    logger.info("schedule.run_now", entry=name, task=entry.task, by=by, **ids)
    return started


def _refuse(name: str) -> NoReturn:
    known = ", ".join(sorted(declared())) or "none"
    raise Refused(f"The schedule has no entry {name!r}; there are: {known}.")
