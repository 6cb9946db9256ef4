"""From a call to a row: one at a time, or many in one statement."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.utils import translation
from structlog.contextvars import get_contextvars

from reliable import queues
from reliable.jobs import arguments, context, ids, sql
from reliable.jobs.database import execute, rows
from reliable.jobs.handle import JobHandle

if TYPE_CHECKING:
    from reliable.jobs.durable import DurableTask

# Rows in one INSERT; more are sent in several.
_MOST_ROWS = 5000

_together: ContextVar["list[str] | None"] = ContextVar("reliable.jobs.together", default=None)


@dataclass(slots=True)
class Call:
    """A call that is to become a job."""

    task: "DurableTask[..., Any]"
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    countdown: float | None = None
    eta: datetime | None = None
    queue: str | None = None
    expires: float | timedelta | datetime | None = None
    priority: int | None = None
    # Of a call that another release sent as a message: its job's, at each delivery. Its arguments
    # need not fit this release; the job waits for one that they do fit.
    id: UUID | None = None
    # More of what travels with the job.
    headers: Mapping[str, Any] | None = None

    def row(self) -> tuple[UUID, str]:
        """A new id, and the row for sql.ENQUEUE as JSON. Raises BadArgument."""
        task = self.task
        if self.id:
            args, kwargs = arguments.json_text(self.args), arguments.json_text(self.kwargs)
            job_id, parent_id = self.id, None
        else:
            args, kwargs = arguments.encode(
                task.name, task.signature, task.positional, self.args, self.kwargs
            )
            job_id, parent_id = _id(task.name, args, kwargs)
        # Of a column that stands twice, jsonb keeps the last.
        columns = [task.columns, _shared_columns(self.headers), f'"id":"{job_id}"']
        if parent_id:
            columns.append(f'"parent_id":"{parent_id}"')
        if task.unique:
            # Not the arguments: an index takes 2,704 bytes, and shows them to whoever reads it.
            key = blake2b(f"{args}{kwargs}".encode(), digest_size=16).hexdigest()
            columns.append(f'"unique_key":"{key}"')
        if options := self._options():
            columns.append(json.dumps(options)[1:-1])
        columns.append(f'"args":{args},"kwargs":{kwargs}')
        return job_id, f"{{{','.join(columns)}}}"

    def _options(self) -> dict[str, Any]:
        """The columns that differ from the task's own, since this call says so."""
        options: dict[str, Any] = {}
        if self.countdown is not None:
            options["countdown"] = self.countdown
        if self.eta is not None:
            options["eta"] = _moment(self.task, "eta", self.eta)
        if self.queue is not None:
            options["queue"] = self._queue(self.queue)
        if self.priority is not None:
            options["priority"] = self._priority(self.priority)
        if self.expires is not None or self.countdown is not None:
            options |= self._expiry()
        return options

    def _queue(self, queue: str) -> str:
        known = queues.declared()
        if known and queue not in known:
            raise ValueError(
                f"{self.task.name}: the queue {queue!r} is not declared (declared:"
                f" {', '.join(known)}): nobody would run it."
            )
        return queue

    def _priority(self, priority: int) -> int:
        if not 0 <= priority <= 9:  # noqa: PLR2004
            raise ValueError(f"{self.task.name}: priority={priority} is not between 0 and 9.")
        return priority

    def _expiry(self) -> dict[str, Any]:
        expires = self.task.expires if self.expires is None else self.expires
        if isinstance(expires, datetime):
            return {"expires_at": _moment(self.task, "expires", expires)}
        if isinstance(expires, timedelta):
            expires = expires.total_seconds()
        return {} if expires is None else {"expires_in": (self.countdown or 0) + expires}


def enqueue(call: Call) -> JobHandle:
    """Insert one job, or note it for the end of `enqueue_together`."""
    job_id, row = call.row()
    if call.task.unique:
        # Which job it is, only the database knows.
        [(found, created, _)] = rows(
            sql.ENQUEUE_UNIQUE, {"jobs": f"[{row}]", "longest": call.task.longest_debounce}
        ) or [(job_id, False, None)]
        return JobHandle(found, created=created)
    noted = _together.get()
    if noted is None:
        execute(sql.ENQUEUE, {"jobs": f"[{row}]"})
    else:
        noted.append(row)
    return JobHandle(job_id)


def enqueue_many(
    task: "DurableTask[..., Any]", calls: Iterable[Iterable[Any]], **options: Any
) -> list[JobHandle]:
    """Insert a job for each tuple of positional arguments, in one statement.

        enqueue_many(email_receipt, [(order.pk,) for order in orders])

    options: as for `apply_async`. A wrong argument anywhere: nothing is inserted.
    """
    with enqueue_together():
        return [task.apply_async(args, **options) for args in calls]


@contextlib.contextmanager
def enqueue_together() -> Iterator[None]:
    """Insert what is enqueued in this block in one statement, at its end and in its transaction.

    An exception that leaves the block: nothing is inserted. Calls of `unique` tasks do not wait,
    since only the database knows which job they are.
    """
    if _together.get() is not None:
        yield
        return
    noted: list[str] = []
    token = _together.set(noted)
    try:
        yield
    finally:
        _together.reset(token)
    for start in range(0, len(noted), _MOST_ROWS):
        execute(sql.ENQUEUE, {"jobs": f"[{','.join(noted[start : start + _MOST_ROWS])}]"})


def _id(task: str, args: str, kwargs: str) -> tuple[UUID, UUID | None]:
    run = context.current_run()
    if run is None:
        return ids.new(), None
    if run.atomic:
        return ids.new(), run.id
    # Without a transaction around it the parent may get here again, in another attempt.
    return run.child_id(task, f"{args}{kwargs}"), run.id


def _shared_columns(headers: Mapping[str, Any] | None) -> str:
    """What every job that is enqueued here and now has in common, and headers of this one."""
    language = translation.get_language()
    shared = (
        str(getattr(settings, "RELEASE", "")),
        None if language == settings.LANGUAGE_CODE else language,
        get_contextvars().get("request_id"),
    )
    return _as_columns(*shared, headers) if headers else _often(*shared)


def _as_columns(
    release: str,
    language: str | None,
    request_id: Any,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    headers = {"language": language, "request_id": request_id and str(request_id), **more}
    kept = {name: value for name, value in headers.items() if value}
    return json.dumps({"release": release, "headers": kept})[1:-1]


_often = lru_cache(maxsize=64)(_as_columns)


def _moment(task: "DurableTask[..., Any]", option: str, value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError(
            f"{task.name}: {option}={value} has no time zone; use django.utils.timezone.now()."
        )
    return value.isoformat()
