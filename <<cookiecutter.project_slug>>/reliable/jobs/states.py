"""The states of a job.

    held ──> waiting ──> running ──> succeeded | failed | cancelled
               ^  │          │
               │  └> expired │  a retry, a snooze, a lost worker
               └─────────────┘

There is no state for "in the broker": `published_at` says that a message should exist.
"""

from django.db import models


class State(models.TextChoices):
    HELD = "held"  # for something other than time: a predecessor
    WAITING = "waiting"  # `run_at` says since when, or until when
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the dead letters
    CANCELLED = "cancelled"
    EXPIRED = "expired"


UNFINISHED = (State.HELD, State.WAITING, State.RUNNING)
FINISHED = (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED)


class Outcome(models.TextChoices):
    """How an attempt ended that did not succeed."""

    FAILED = "failed"  # an exception
    TIMED_OUT = "timed out"
    CHILD_LOST = "child lost"
    WORKER_LOST = "worker lost"
    NOT_RECORDED = "not recorded"  # its end could not be written
    SHUT_DOWN = "shut down"  # by us: not counted
    MISFIT = "misfit"  # unknown to that release: not counted
    SNOOZED = "snoozed"
    ROLLED_BACK = "rolled back"  # with the batch that it ran in: not counted
