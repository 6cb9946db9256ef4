"""`run_jobs()`: what a test's code has enqueued, run in the test's process."""

import uuid
from datetime import datetime

from reliable.jobs import context, database, runner

# Jobs that enqueue each other for ever end here.
_MOST_RUNS = 1000

# Here and in sql.py: a test's transaction began before its jobs, so `now()` is too early.
_NEXT = """
SELECT id FROM reliable_job WHERE state = 'waiting' AND run_at <= clock_timestamp()
ORDER BY priority DESC, run_at, id LIMIT 1
"""
_EXPIRE = """
UPDATE reliable_job SET
    state = 'expired', finished_at = clock_timestamp(), published_at = NULL, unique_key = NULL
WHERE state = 'waiting' AND expires_at <= coalesce(%(at)s::timestamptz, clock_timestamp())
"""
_BRING_FORWARD = """
UPDATE reliable_job SET run_at = clock_timestamp()
WHERE state = 'waiting' AND run_at > clock_timestamp() AND run_at <= %(at)s::timestamptz
"""


class _TestsConnection:
    """Progress in the test's transaction: outside of it nobody sees the job."""

    def rows(
        self, statement: str, parameters: database.Parameters | None = None, /
    ) -> list[database.Row]:
        return database.rows(statement, parameters or {})


def run_jobs(*, at: datetime | None = None, raise_errors: bool = True) -> int:
    """Run each due job, and what those enqueue, through the claim and the fence of a worker.

    Works inside TestCase, whose transaction never commits, and needs no broker. Jobs of a task with
    `batch` run alone, too. Returns how many attempts were made.

    at: as if it were that moment: what is due by then runs, retries among it, and what has expired
    by then does not. raise_errors: raise the first exception of a body, after it was recorded as a
    worker does; with False a test looks at the jobs instead.
    """
    worker = uuid.uuid4()
    errors: list[BaseException] = []
    token = context.beside.set(_TestsConnection())
    try:
        for count in range(_MOST_RUNS):
            database.execute(_EXPIRE, {"at": at})
            database.execute(_BRING_FORWARD, {"at": at})
            due = database.rows(_NEXT, {})
            if not due:
                return count
            if not runner.run(due[0][0], worker, errors):
                raise AssertionError(
                    f"job {due[0][0]} is due, but its queue is paused, or is at its limit"
                )
            if errors and raise_errors:
                raise errors[0]
    finally:
        context.beside.reset(token)
    raise AssertionError(f"after {_MOST_RUNS} attempts there are more: do they enqueue each other?")
