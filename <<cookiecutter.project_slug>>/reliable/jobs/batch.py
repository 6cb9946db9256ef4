"""Many jobs of a task in one transaction: one claim, a savepoint for each body, one finish.

What cannot be committed whole is rolled back whole, and each of its jobs runs alone from then on:
whose fault it was, only a job that runs alone can show.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from billiard.common import terminate_handler_fired  # type: ignore[attr-defined]
from django.db import (
    DEFAULT_DB_ALIAS,
    Error,
    InterfaceError,
    OperationalError,
    connections,
    transaction,
)
from django.db.transaction import TransactionManagementError
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from structlog.contextvars import bound_contextvars

from reliable.connections import own_transactions
from reliable.jobs import sql
from reliable.jobs.attempt import Attempt, Claimed
from reliable.jobs.context import LostClaim
from reliable.jobs.database import execute, reconnecting
from reliable.jobs.durable import registry
from reliable.jobs.limits import Limits
from reliable.jobs.runner import DEADLINE_MARGIN, KILL_AFTER, claimed
from reliable.jobs.runner import run as run_alone
from reliable.jobs.states import Outcome
from reliable.jobs.transitions import Ending, end_sessions, give_back, job_succeeded
from reliable.redaction import without_secrets

logger = structlog.stdlib.get_logger("reliable.jobs")

# Seconds after which a transaction takes no further body: so long, and for one body more, what the
# first has locked or done is kept from others.
_LONGEST = 1.0

# A log is often a pipe that a worker's processes share: up to 4 KiB a line stays whole in it.
_JOBS_OF_A_LINE = 25


def run(ids: Sequence[UUID], task: str, worker: UUID) -> None:
    """Run those of the jobs that are waiting and due; nothing that a body raises gets out.

    Those that are to run alone do so after the others, so that no message strands a job.
    """
    with Limits(KILL_AFTER) as limits:
        found = _claim(ids, task, worker)
        waiting = deque(found)
        if waiting:
            # One line for all of them: lines are a third of what a short job costs.
            first, jobs = found[0], [str(each.claim.id) for each in found]
            logger.info("job.batch_started", task=task, queue=first.row.queue, jobs=jobs)
        while waiting:
            _Batch(waiting, worker, limits).run()
        taken = {attempt.claim.id for attempt in found}
        for job_id in ids:
            if job_id not in taken:
                run_alone(job_id, worker, limits=limits)


def _claim(ids: Sequence[UUID], name: str, worker: UUID) -> list[Attempt]:
    task = registry.get(name)
    if task is None or not task.atomic:  # in this release
        return []
    parameters = {
        "ids": _array(ids),
        "task": name,
        "kill_after": KILL_AFTER,
        "margin": DEADLINE_MARGIN,
    }
    found = {row[0]: row[1:] for row in claimed(sql.CLAIM_BATCH, worker, parameters)}
    return [Attempt(job_id, worker, Claimed(*found[job_id])) for job_id in ids if job_id in found]


class _Done(NamedTuple):
    """A member whose body has returned."""

    attempt: Attempt
    result: str
    milliseconds: int
    hooks: list[Any]

    @property
    def said(self) -> dict[str, Any]:
        """What its log line has beyond the batch's."""
        fields = {**self.attempt.log_fields, "duration_ms": self.milliseconds}
        del fields["task"], fields["queue"]
        return fields


class _NotWhole(Exception):  # noqa: N818
    """The transaction cannot be committed with all that its members did."""


class _Batch:
    """One transaction; takes its members from the front of `waiting`."""

    def __init__(self, waiting: deque[Attempt], worker: UUID, limits: Limits) -> None:
        self.waiting = waiting
        self.worker = worker
        self.limits = limits
        self.members: list[Attempt] = []
        self.done: list[_Done] = []
        self.ended: list[tuple[Attempt, Ending]] = []

    def run(self) -> None:
        until = time.monotonic() + _LONGEST
        try:
            with transaction.atomic():
                while self.waiting and time.monotonic() < until:
                    member = self.waiting.popleft()
                    self.members.append(member)
                    with bound_contextvars(**member.log_fields):
                        self._body(member)
                self._finish()
        except (_NotWhole, Error, LostClaim) as error:
            self._roll_back(error)
            return
        self._after_commit()

    def _body(self, member: Attempt) -> None:
        if (misfit := member.misfit()) is not None:
            self.ended.append((member, misfit))
            return
        connection = connections[DEFAULT_DB_ALIAS]
        began = time.monotonic()
        hooks, blocks = len(connection.run_on_commit), len(connection.atomic_blocks)
        # Never released: that would be a third trip to the database for each body. The next stands
        # inside of this one, and the commit ends all of them.
        _send_savepoint(connection)
        try:
            with member.context():
                _await_savepoint(connection)
                with self.limits.of(member.row.time_limit):
                    returned = member.fitting(*member.args, **member.kwargs)
                    result = member.json_of(returned)
                _refuse_broken(connection)
        except BaseException as error:
            if terminate_handler_fired():
                raise  # as of one that runs alone
            ending = self._ending(member, error)
            del connection.run_on_commit[hooks:]
            # A time limit may come while a block of the body is being entered or left: Django would
            # take what it forgot there for the batch's own, and not commit.
            del connection.atomic_blocks[blocks:], connection.savepoint_ids[blocks - 1 :]
            if isinstance(error, LostClaim):
                raise
            _back_to_savepoint(connection, ending.error)
            self.ended.append((member, ending))
        else:
            milliseconds = round((time.monotonic() - began) * 1000)
            self.done.append(_Done(member, result, milliseconds, connection.run_on_commit[hooks:]))
            del connection.run_on_commit[hooks:]

    def _ending(self, member: Attempt, error: BaseException) -> Ending:
        ending = member.ending(error)
        if isinstance(error, OperationalError | InterfaceError):
            # A deadlock, or a lock that did not come: company may be the cause.
            return replace(
                ending, outcome=Outcome.ROLLED_BACK, counted=False, final=None, solo=True
            )
        return ending

    def _finish(self) -> None:
        parameters = {
            "ids": _array([each.attempt.claim.id for each in self.done]),
            "claim_nos": _array([each.attempt.claim.claim_no for each in self.done]),
            "results": f"[{','.join([each.result for each in self.done])}]",
            "worker": self.worker,
        }
        if self.done and execute(sql.FINISH_BATCH, parameters).rowcount != len(self.done):
            raise LostClaim("one of them was cancelled or taken away")

    def _after_commit(self) -> None:
        for member, ending in self.ended:
            with bound_contextvars(**member.log_fields):
                member.give_back(ending)
        self._say_done()
        for each in self.done:
            name = each.attempt.name
            if each.hooks or job_succeeded.has_listeners(name):
                with bound_contextvars(**each.attempt.log_fields):
                    job_succeeded.send_robust(sender=name, job_id=each.attempt.claim.id)
                    self._run_hooks(each)

    def _say_done(self) -> None:
        for start in range(0, len(self.done), _JOBS_OF_A_LINE):
            some = self.done[start : start + _JOBS_OF_A_LINE]
            row = some[0].attempt.row
            jobs = [each.said for each in some]
            logger.info("job.batch_succeeded", task=row.task, queue=row.queue, jobs=jobs)

    def _run_hooks(self, done: _Done) -> None:
        """As Django does after the commit; what one job's raise is nothing to the others'."""
        connection = connections[DEFAULT_DB_ALIAS]
        connection.run_on_commit = done.hooks
        try:
            limit = self.limits.of(done.attempt.row.time_limit)
            with own_transactions(), done.attempt.context(), limit:
                connection.run_and_clear_commit_hooks()
        except Exception:
            logger.exception("job.hook_failed")

    def _roll_back(self, error: Exception) -> None:
        secrets = [secret for member in self.members for secret in member.secrets]
        reason = without_secrets(f"{type(error).__name__}: {error}".strip(), secrets)
        if isinstance(error, _NotWhole | LostClaim):
            reason = str(error)
        claims = [member.claim for member in self.members]
        # One may be busy with a statement that could not be cancelled, and keep its locks.
        end_sessions(claims)
        ending = Ending(
            Outcome.ROLLED_BACK,
            f"The batch that it ran in was not committed: {reason}",
            counted=False,
            solo=True,
        )
        try:
            ended = reconnecting(lambda: give_back(claims, self.worker, ending))
        except Error as problem:
            # As of one that runs alone: the parent gives them back when the database is there.
            logger.warning("job.end_not_recorded", reason=ending.error, error=str(problem).strip())
            return
        waiting = {job.id for job in ended}
        for member in self.members:
            if member.claim.id not in waiting:
                logger.warning("job.claim_lost", **member.log_fields)


def _array(values: Sequence[UUID | int]) -> str:
    """What PostgreSQL reads as an array. psycopg makes one of a list of any type; that took 8 µs a
    job, a tenth of what all our statements take for it.
    """
    return f"{{{','.join(map(str, values))}}}"


def _send_savepoint(connection: Any) -> None:
    """Let the database set it while this process prepares the body."""
    raw = connection.connection
    if raw is None or raw.pgconn.transaction_status != TransactionStatus.INTRANS:
        execute("SAVEPOINT member", {})  # psycopg begins the transaction with it
        return
    # Not through a cursor: this is done for each body, and costs a tenth.
    with connection.wrap_database_errors:
        raw.pgconn.send_query(b"SAVEPOINT member")


def _await_savepoint(connection: Any) -> None:
    raw = connection.connection
    with connection.wrap_database_errors:
        while answer := raw.pgconn.get_result():
            if answer.status != ExecStatus.COMMAND_OK:
                raise error_from_result(answer)


def _refuse_broken(connection: Any) -> None:
    """A body that caught an error, and left its transaction broken, has not succeeded."""
    connection.validate_no_broken_transaction()
    if connection.connection.pgconn.transaction_status != TransactionStatus.INTRANS:
        raise TransactionManagementError(
            "The body has returned with its transaction broken or ended: a statement failed, and"
            " was not in an atomic() of its own."
        )


def _back_to_savepoint(connection: Any, why: str) -> None:
    """Undo a body, and keep what earlier members did; raises _NotWhole if that is lost as well."""
    raw = connection.connection
    if connection.closed_in_transaction or raw is None or raw.closed:
        raise _NotWhole(why)
    connection.needs_rollback = False
    try:
        execute("ROLLBACK TO SAVEPOINT member", {})
    except Error as error:
        raise _NotWhole(why) from error
