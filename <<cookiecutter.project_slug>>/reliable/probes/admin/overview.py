"""Everything that the operations page shows, read once.

Only PostgreSQL is asked, so that the page is the same with the broker down: what beat saw in the
broker's lists is in the table, and is unknown where beat could not look.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from reliable import provider
from reliable.probes import sql
from reliable.probes.admin.chain import Link, links, outside
from reliable.probes.admin.rows import QueueRow, WorkerRow, queue_rows, worker_row
from reliable.probes.admin.sentence import Sentence, sentence
from reliable.probes.alarms.duty import PING_EVERY
from reliable.probes.alarms.options import outlets
from reliable.probes.database import rows
from reliable.probes.health import health
from reliable.probes.models import Transition
from reliable.probes.states import Kind
from reliable.provider import Entry, FailedGroup

_TRANSITIONS = 20
_GROUPS = 20


@dataclass(frozen=True, slots=True)
class Overview:
    """The page. failed and schedule are None in a project without durable tasks."""

    at: datetime
    sentence: Sentence
    links: Sequence[Link]
    queues: Sequence[QueueRow]
    workers: Sequence[WorkerRow]
    failed: Sequence[FailedGroup] | None
    more_groups: int
    schedule: Sequence[Entry] | None
    transitions: Sequence[Transition]

    @property
    def durable(self) -> bool:
        return self.failed is not None


def overview() -> Overview:
    """How everything is now. Raises DatabaseError."""
    began = time.perf_counter()
    how = health()
    milliseconds = (time.perf_counter() - began) * 1000
    source = provider.registered()
    failed = list(source.failed()) if source else []
    queues = queue_rows(how, source.queues() if source else None)
    return Overview(
        at=timezone.now(),
        sentence=sentence(how, queues, failed),
        links=links(how, jobs=source is not None, milliseconds=milliseconds, outside=_outside()),
        queues=queues,
        workers=[worker_row(*each) for each in how.of(Kind.WORKER)],
        failed=failed[:_GROUPS] if source else None,
        more_groups=max(0, len(failed) - _GROUPS),
        schedule=source.schedule() if source else None,
        transitions=list(
            Transition.objects.select_related("target").order_by("-at")[:_TRANSITIONS]
        ),
    )


def _outside() -> Link:
    pinged = next((ago for (ago,) in rows(sql.PINGED)), None)
    return outside(pinged, wanted=bool(outlets().ping), every=PING_EVERY)
