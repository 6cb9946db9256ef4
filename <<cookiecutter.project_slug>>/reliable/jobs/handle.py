"""What a call returns: the job's id, and what can be asked of it or done to it."""

import json
import time
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections

from reliable.jobs import context, transitions
from reliable.jobs.database import rows
from reliable.jobs.states import FINISHED, State

# Seconds between two looks of `wait`.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5


class WaitWouldNeverEnd(RuntimeError):  # noqa: N818
    """The job cannot run before the caller goes on."""


class JobFailed(Exception):  # noqa: N818 - the state's name
    """The job that was waited for ended without success; its text says how."""


class JobNotFound(LookupError):  # noqa: N818
    """There is no such job: rolled back, or purged."""


class JobHandle:
    """A job by its id. `created` is False if a `unique` call found an earlier one."""

    __slots__ = ("created", "id")

    def __init__(self, job_id: UUID, *, created: bool = True) -> None:
        self.id = job_id
        self.created = created

    def __repr__(self) -> str:
        return f"<job {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobHandle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def state(self) -> State:
        """Raises JobNotFound."""
        return self._look()[0]

    @property
    def result(self) -> Any:
        """What the body returned; None before its success."""
        return self._look()[1]

    def wait(self, timeout: float) -> Any:
        """Wait up to `timeout` seconds for the end; return the result.

        Raises JobFailed, TimeoutError, or WaitWouldNeverEnd in a transaction, which the job may
        wait for, and in a task, whose slot the job may wait for.
        """
        if context.current_run() is not None:
            raise WaitWouldNeverEnd(
                f"wait() for job {self.id} in a task occupies the slot that the job may need; let"
                " the job enqueue what follows."
            )
        if connections[DEFAULT_DB_ALIAS].in_atomic_block:
            raise WaitWouldNeverEnd(
                f"wait() for job {self.id} in a transaction: before its commit there is no job."
            )
        deadline = time.monotonic() + timeout
        pause = _FIRST_PAUSE
        while True:
            state, result, error = self._look()
            if state == State.SUCCEEDED:
                return result
            if state in FINISHED:
                raise JobFailed(f"Job {self.id} ended as {state}: {error}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"Job {self.id} is {state} after {timeout:g} s.")
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def cancel(self, reason: str = "cancelled by its caller") -> bool:
        """End a job that has not finished, also one that runs: its effects are then rolled back.

        Returns whether it was so; False if it had ended.
        """
        return bool(transitions.cancel([self.id], reason))

    def retry(self) -> bool:
        """Give a failed, cancelled or expired job all its attempts again; False if it is none."""
        return bool(transitions.retry([self.id]))

    def _look(self) -> tuple[State, Any, str]:
        found = rows(
            "SELECT state, result::text, error FROM reliable_job WHERE id = %(id)s", {"id": self.id}
        )
        if not found:
            raise JobNotFound(
                f"There is no job {self.id}: its transaction rolled back, or it was purged."
            )
        [(state, result, error)] = found
        return State(state), None if result is None else json.loads(result), error
