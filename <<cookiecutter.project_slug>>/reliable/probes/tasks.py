"""The two tasks: beat's entry, which sends, and the probe, which is sent."""

import os
from typing import Any, cast

from celery import Task, shared_task
from celery.result import AsyncResult
from django.conf import settings
from kombu.utils.uuid import uuid

from reliable.probes import options, sql
from reliable.probes.database import rows

TICK = "reliable.probes.tick"
PROBE = "reliable.probes.probe"


class Tick(Task):  # type: ignore[type-arg] # generic in its stubs alone
    """A task that is not sent: it happens where it would be sent from, which is beat.

    So beat's tick is noted by beat itself, when it ticks, with whatever scheduler it has.
    """

    abstract = True
    #: For schedulers that look whether the broker is there before they tick a plain task: this one
    #: has to tell that it is not.
    happens_in_beat = True

    def apply_async(self, *args: Any, **kwargs: Any) -> "AsyncResult[Any]":
        from reliable.probes import beat

        beat.tick()
        return self.AsyncResult(uuid())


@shared_task(name=TICK, base=Tick, ignore_result=True)
def tick() -> None:
    """Ask everybody. Put it into beat's schedule, every `RELIABLE_PROBES["interval"]` seconds."""
    # If somebody calls it, in a worker or a shell.
    from reliable.probes import beat

    beat.tick()


@shared_task(name=PROBE, bind=True, ignore_result=True, max_retries=0)
def probe(self: Any) -> None:
    """Note that a task came through. Its id is the token of the target that was asked."""
    rows(
        sql.RETURNED,
        {
            "token": self.request.id,
            "worker": self.request.hostname,
            "pid": os.getpid(),
            "release": str(getattr(settings, "RELEASE", "")),
            "bounds": list(options.BUCKETS),
        },
    )


#: For `reliable.logging`: a healthy probe is no news.
cast("Any", probe).says_nothing = True
