"""The one Celery task that runs jobs. Its message says which; everything else stands in the row."""

from typing import Any
from uuid import UUID

from celery import shared_task

from reliable.jobs import worker

#: Its messages have the job's id as theirs, and the durable task's name as their shadow.
RUNNER = "reliable.jobs.run"


@shared_task(  # type: ignore[call-overload,untyped-decorator] # its stubs know no Request
    name=RUNNER,
    bind=True,
    # The row is the truth: a message that is lost with its worker is sent again from there.
    acks_late=False,
    ignore_result=True,
    max_retries=None,
    Request="reliable.jobs.worker:JobRequest",
)
def run(self: Any) -> None:
    """Run the job whose id the message bears, if it waits. Twice: the second finds it taken.

    Or the jobs that the message names, as a batch.
    """
    from reliable.jobs import batch, runner

    if ids := self.request.get(worker.JOBS):
        batch.run([UUID(each) for each in ids], self.request.shadow, worker.identity.id)
    else:
        runner.run(UUID(self.request.id), worker.identity.id)


#: For `reliable.logging`, since jobs have lines of their own, and for `reliable.checks`.
run.runs_jobs = True
