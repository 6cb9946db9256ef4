"""Claim a job and run it; in a child of a worker, or in a test."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import (
    DEFAULT_DB_ALIAS,
    IntegrityError,
    connections,
)
from structlog.contextvars import bound_contextvars

from reliable.jobs import sql
from reliable.jobs.attempt import Attempt, Claimed
from reliable.jobs.database import Row, pooled, reconnecting, rows
from reliable.jobs.limits import Limits

logger = structlog.stdlib.get_logger("reliable.jobs")

#: Seconds after its time limit when the child is killed, and after that when the job is given to
#: somebody else whatever its worker says.
KILL_AFTER = 5
DEADLINE_MARGIN = KILL_AFTER + 10

# Claims of one job that may meet others at the same place of a queue with a limit, before the relay
# offers it again.
_MOST_RACES = 20


def run(
    job_id: UUID,
    worker: UUID,
    errors: list[BaseException] | None = None,
    limits: Limits | None = None,
) -> bool:
    """Run a job if it is waiting and due; return whether it was.

    Nothing that the body raises gets out, but for what ends this process; `errors` collects it.
    limits: keep its time limit, which the worker's parent does not.
    """
    found = _claim(job_id, worker)
    if not found:
        # Somebody else runs it or has run it, its queue is paused or at its limit, or its caller is
        # changing it.
        logger.debug("job.not_waiting", job_id=str(job_id))
        return False
    attempt = Attempt(job_id, worker, Claimed(*found[0]))
    with bound_contextvars(**attempt.log_fields):
        attempt.run(limits)
    if errors is not None and attempt.error is not None:
        errors.append(attempt.error)
    return True


def _claim(job_id: UUID, worker: UUID) -> list[Row]:
    parameters = {"id": job_id, "margin": DEADLINE_MARGIN}
    for _ in range(_MOST_RACES):
        try:
            found = claimed(sql.CLAIM, worker, parameters)
        except IntegrityError as error:
            if "reliable_job_slot" in str(error):
                continue  # another job has taken the place since a moment
            return []  # another suspect runs in this worker since a moment
        if found:
            return found
        break
    rows(sql.REFUSED, {"id": job_id})
    return []


def claimed(statement: str, worker: UUID, parameters: Mapping[str, Any]) -> list[Row]:
    """The rows of a statement that claims."""
    common = {
        "worker": worker,
        "pooled": pooled(),
        "release": str(getattr(settings, "RELEASE", "")),
    }
    connection: Any = connections[DEFAULT_DB_ALIAS]
    # The claim is as good a proof of health as the question that Django would ask before it.
    connection.health_check_done = True
    return reconnecting(lambda: rows(statement, {**common, **parameters}))
