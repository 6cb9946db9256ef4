"""What an operator does to jobs and queues."""

import getpass
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import QuerySet

from reliable import queues
from reliable.jobs import sql, times, transitions
from reliable.jobs.database import execute, rows
from reliable.jobs.models import Job, Queue
from reliable.jobs.selection import Selection, jobs
from reliable.jobs.states import UNFINISHED, State
from reliable.jobs.times import Refused

logger = structlog.stdlib.get_logger("reliable.jobs")

# Rows of one statement: locks are held for milliseconds, and a stop loses nothing that was done.
BATCH = 500
# Ids of one scan.
_SCAN = 20_000


@dataclass(frozen=True)
class Operation:
    """A change of many jobs. `usual` are the states that it takes when nobody names one."""

    name: str
    done: str
    allowed: tuple[State, ...]
    usual: tuple[State, ...]
    act: Callable[[Sequence[UUID], str], list[UUID]]


OPERATIONS = {
    each.name: each
    for each in (
        Operation(
            "retry",
            "retried",
            (State.FAILED, State.CANCELLED, State.EXPIRED),
            # What somebody has cancelled or discarded comes back only when it is asked for.
            (State.FAILED,),
            lambda ids, reason: transitions.retry(ids),
        ),
        Operation("discard", "discarded", (State.FAILED,), (State.FAILED,), transitions.discard),
        Operation("cancel", "cancelled", UNFINISHED, UNFINISHED, transitions.cancel),
    )
}


class Batch(NamedTuple):
    """How many jobs one batch looked at, and how many it changed."""

    seen: int
    changed: int


def narrowed(operation: Operation, selection: Selection) -> Selection:
    """The selection with the states that the operation takes. Ids that are named are meant."""
    if selection.states:
        return selection
    return replace(selection, states=operation.allowed if selection.ids else operation.usual)


def left_out(selection: Selection, narrowed: Selection) -> list[dict[str, Any]]:
    """Of the ids that somebody named, those whose state the operation does not take."""
    if not selection.ids:
        return []
    others = jobs().filter(id__in=selection.ids).exclude(state__in=narrowed.states)
    return [dict(job) for job in others.order_by("id").values("id", "state")]


def change(operation: Operation, selection: Selection, reason: str) -> Iterator[Batch]:
    """Change the jobs, a committed batch at a time; each job once, however soon it fails again."""
    for ids in batches(selection.jobs()):
        yield Batch(len(ids), len(operation.act(ids, reason)))


def batches(
    selected: QuerySet[Job], after: UUID | None = None, scan: int = 0
) -> Iterator[list[UUID]]:
    """The ids in order, BATCH at a time, those that come after one; `scan` are looked for at once.

    A scan for each batch would read the table a thousand times.
    """
    after = after or UUID(int=0)
    scan = scan or _SCAN
    while ids := list(
        selected.filter(id__gt=after).order_by("id").values_list("id", flat=True)[:scan]
    ):
        for start in range(0, len(ids), BATCH):
            yield ids[start : start + BATCH]
        after = ids[-1]


# --- Queues --------------------------------------------------------------------------------------


class Pause(NamedTuple):
    """Since when a queue is paused, and until when; None is until somebody resumes it."""

    since: datetime
    until: datetime | None


def pause(
    queue: str, *, by: str, why: str, until: datetime | None = None, seconds: float | None = None
) -> Pause:
    """Let no job of the queue start; those that run come to their end. Raises Refused."""
    known = queues.declared()
    if known and queue not in known:
        raise Refused(f"The queue {queue!r} is not declared; declared: {', '.join(known)}.")
    parameters = {"queue": queue, "by": by, "why": why, "until": until, "seconds": seconds}
    paused = Pause(*rows(sql.PAUSE, parameters)[0])
    more = {"until": paused.until.isoformat()} if paused.until else {}
    logger.info("queue.paused", queue=queue, by=by, why=why, **more)
    return paused


def resume(queue: str, *, by: str) -> Pause | None:
    """Let the queue's jobs start again; None if it was not paused. Raises Refused."""
    known = queues.declared()
    found = rows(sql.RESUME_QUEUE, {"queue": queue})
    if not found:
        # One that is no longer declared may still be paused.
        if known and queue not in known:
            raise Refused(f"The queue {queue!r} is not declared; declared: {', '.join(known)}.")
        return None
    [(since, until, _)] = found
    logger.info("queue.resumed", queue=queue, by=by)
    return Pause(since, until)


#: A larger one would limit nothing.
LARGEST_LIMIT = 10_000


def limit(queue: str, *, limit: int | None, by: str) -> int | None:
    """Let no job of the queue start while so many run, over all hosts; None removes the limit.

    What runs already comes to its end, also above the limit. Returns the limit until now. Raises
    Refused.
    """
    known = queues.declared()
    # One that is no longer declared may still have a limit.
    if known and queue not in known and limit is not None:
        raise Refused(f"The queue {queue!r} is not declared; declared: {', '.join(known)}.")
    if limit is not None and not 1 <= limit <= LARGEST_LIMIT:
        raise Refused(
            f"A limit of {limit:,} jobs is not possible: write a number from 1 to"
            f" {LARGEST_LIMIT:,}, or none. To let no job start: manage.py jobs pause {queue}"
        )
    with transaction.atomic():
        rows(sql.LOCK, {"duty": "adopt"})
        [(before, _)] = rows(sql.LIMIT, {"queue": queue, "limit": limit})
        execute(sql.ADOPT, {})
    logger.info("queue.limited", queue=queue, by=by, limit=limit, before=before)
    return None if before is None else int(before)


def limited() -> list[Queue]:
    """The queues with a limit."""
    found = Queue.objects.using(jobs().db).filter(limit__isnull=False)
    return list(found.order_by("name"))


def paused() -> list[Queue]:
    found = Queue.objects.using(jobs().db).filter(paused_at__isnull=False)
    return list(found.order_by("name"))


def why_paused(queue: Queue) -> str:
    """Since when, by whom, why and until when, for the middle of a sentence."""
    until = f", until {times.local(queue.paused_until)}" if queue.paused_until else ""
    why = f" ({queue.paused_why})" if queue.paused_why else ""
    return f"since {times.local(queue.paused_at)} by {queue.paused_by or 'somebody'}{why}{until}"


def person() -> str:
    """Who sits at the keyboard, as far as the system knows."""
    # After `sudo -u app` everybody is `app`.
    if name := os.environ.get("SUDO_USER"):
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"
