"""Durable tasks: a call is a row in the caller's transaction, and what is committed runs.

The README beside this file has how it works, how to copy it, and what is promised.
"""

from reliable.jobs.arguments import BadArgument
from reliable.jobs.context import Discard, NoJob, Snooze, current_job
from reliable.jobs.decorator import durable_task
from reliable.jobs.durable import DurableTask, NotHonoured
from reliable.jobs.enqueue import enqueue_many, enqueue_together
from reliable.jobs.handle import JobFailed, JobHandle, JobNotFound, WaitWouldNeverEnd
from reliable.jobs.states import State

__all__ = [
    "BadArgument",
    "Discard",
    "DurableTask",
    "JobFailed",
    "JobHandle",
    "JobNotFound",
    "NoJob",
    "NotHonoured",
    "Snooze",
    "State",
    "WaitWouldNeverEnd",
    "current_job",
    "durable_task",
    "enqueue_many",
    "enqueue_together",
]
