"""A change of many jobs by an operator's requests: begun, continued, stopped, and written down."""

import time
from uuid import UUID

import structlog
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from structlog.contextvars import bound_contextvars

from reliable.jobs import operations
from reliable.jobs.models import Change
from reliable.jobs.operations import OPERATIONS, Operation
from reliable.jobs.selection import Selection

logger = structlog.stdlib.get_logger("reliable.jobs")

#: Seconds of one request: a proxy does not wait for a minute, and neither does a person.
SLICE = 2.5
# Ids that are looked for at once: about what a request can change.
_LOOK = 5000


def begin(
    operation: Operation, selection: Selection, *, by: str, reason: str, matched: int | None
) -> Change:
    """Write down what will be changed. `continued` does it.

    selection: with the states that are to be changed, and `until`, so that what fails or is
    enqueued from now on is left alone.
    """
    change = changes().create(
        operation=operation.name,
        selection=selection.as_json(),
        by=by,
        reason=reason,
        matched=matched,
    )
    logger.info("jobs.change_began", **_fields(change), matched=matched)
    return change


def continued(number: int, seconds: float = SLICE) -> Change:
    """Change jobs for so long. Two who do this at once share the work; none is done twice."""
    change = changes().get(pk=number)
    selected = Selection.from_json(change.selection).jobs()
    ends = time.monotonic() + seconds
    with bound_contextvars(by=change.by):
        for ids in operations.batches(selected, change.after, _LOOK):
            if not _batch(change, ids) or time.monotonic() > ends:
                return changes().get(pk=number)
    return _ended(number, stopped=False)


def stopped(number: int) -> Change:
    """Leave the rest alone."""
    return _ended(number, stopped=True)


def unfinished() -> QuerySet[Change]:
    return changes().filter(ended_at__isnull=True).order_by("-id")


def changes() -> QuerySet[Change]:
    return Change.objects.using(DEFAULT_DB_ALIAS)


def _batch(change: Change, ids: list[UUID]) -> bool:
    """Change these, and write down how far it got, in one transaction; False if it has ended."""
    with transaction.atomic(using=DEFAULT_DB_ALIAS):
        mine = changes().filter(pk=change.pk, ended_at__isnull=True).select_for_update().first()
        if mine is None:
            return False
        # Somebody else may have done a part of them since they were read.
        left = [each for each in ids if mine.after is None or each > mine.after]
        if left:
            changed = OPERATIONS[change.operation].act(left, change.reason)
            mine.seen, mine.changed = mine.seen + len(left), mine.changed + len(changed)
            mine.after = left[-1]
            mine.save(update_fields=["seen", "changed", "after"])
    return True


def _ended(number: int, *, stopped: bool) -> Change:
    ended = changes().filter(pk=number, ended_at__isnull=True)
    first = ended.update(ended_at=Now(), stopped=stopped)
    change = changes().get(pk=number)
    if first:
        event = "jobs.change_stopped" if stopped else "jobs.changed"
        logger.info(event, **_fields(change), seen=change.seen, changed=change.changed)
    return change


def _fields(change: Change) -> dict[str, object]:
    return {
        "change": change.pk,
        "operation": change.operation,
        "selection": change.selection,
        "by": change.by,
    }
