"""What there is to know of each entry: its declaration, and what became of it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection

from reliable.jobs.models import Schedule
from reliable.jobs.schedule.calls import durable
from reliable.jobs.schedule.due import IN_TIME
from reliable.schedule import Entry, declared


@dataclass(frozen=True)
class Status:
    """An entry that is declared here, or was ticked within the last 30 days.

    last: the moment for which it ticked last; ticked_at: when that was done; last_job: the job, of
    a durable task. next: None while it is paused or removed. overdue_since: its earliest tick that
    no beat took in time; None if there is none. missed: how many there have been in all.
    """

    name: str
    task: str
    durable: bool
    timing: str
    missed_ticks: str
    last: datetime | None
    ticked_at: datetime | None
    last_job: UUID | None
    next: datetime | None
    overdue_since: datetime | None
    missed: int
    missed_at: datetime | None
    paused_at: datetime | None
    paused_by: str
    removed_at: datetime | None


def statuses() -> list[Status]:
    """Each entry, by name. What is declared is this process's release; tasks must be loaded."""
    now = database_now()
    found = {row.name: row for row in Schedule.objects.all()}
    names = sorted({*declared(), *found})
    return [status(name, found.get(name), now) for name in names]


def database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def status(name: str, row: Schedule | None, now: datetime) -> Status:
    """Of one entry; row is None if no beat has seen it yet."""
    entry = declared().get(name)
    row = row or Schedule(name=name, timing="", last_due=now, missed=0, paused_by="")
    following, overdue_since = None, None
    if entry and not row.paused_at:
        following = entry.next_tick(now)
        earliest = entry.next_tick(row.last_due)
        # A row of another timing belongs to another release, until this one's beat starts.
        if row.timing == entry.timing and now - earliest > IN_TIME:
            overdue_since = earliest
    return Status(
        name=name,
        task=entry.task if entry else "",
        durable=bool(entry and durable(entry)),
        timing=entry.timing if entry else row.timing,
        missed_ticks=_policy(entry) if entry else "",
        last=row.last_tick,
        ticked_at=row.ticked_at,
        last_job=row.last_job,
        next=following,
        overdue_since=overdue_since,
        missed=row.missed,
        missed_at=row.missed_at,
        paused_at=row.paused_at,
        paused_by=row.paused_by,
        removed_at=row.removed_at,
    )


def _policy(entry: Entry) -> str:
    return f"each, {entry.at_most} at most" if entry.missed == "each" else entry.missed
