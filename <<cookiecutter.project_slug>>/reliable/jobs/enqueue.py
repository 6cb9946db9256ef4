"""From a call to a row: one at a time, or many in one statement."""

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from reliable.jobs.database import perform, rows
from reliable.jobs.handle import JobHandle

if TYPE_CHECKING:
    from reliable.jobs.durable import DurableTask

# Rows in one INSERT; more are sent in several.
_MOST_ROWS = 5000

_OPTIONS = {"countdown", "eta", "queue", "expires", "priority"}

# What calls have in common, and of each call what is its own.
_Noted = dict[str, list[str]]

# Between the members of two objects.
_NEXT = "},{"

_together: ContextVar[_Noted | None] = ContextVar("reliable.jobs.together", default=None)


@dataclass(slots=True)
class Call:
    """A call that is to become a job. Its headers, if it has any, replace those of the caller."""

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

    def shared(self) -> str:
        """The columns that many calls have in common, as members of a JSON object."""
        columns = f"{self.task.columns},{_surroundings(self.headers)}"
        # Of a member that stands twice, PostgreSQL takes the last.
        if options := self._options():
            columns += f",{json.dumps(options)[1:-1]}"
        if self.id is None and (run := context.current_run()):
            columns += f',"parent_id":"{run.id}"'
        return columns

    def own(self, args: Sequence[Any]) -> tuple[UUID, str]:
        """A new id, and the columns of a call with these arguments alone, as `shared`.

        Raises BadArgument.
        """
        task = self.task
        if self.id:
            job_id = self.id
            positional, named = arguments.json_text(args), arguments.json_text(self.kwargs)
        else:
            positional, named = arguments.encode(
                task.name, task.signature, task.positional, args, self.kwargs
            )
            job_id = _new_id(task.name, positional, named)
        columns = f'"id":"{job_id.hex}","args":{positional}'
        if self.kwargs:
            columns += f',"kwargs":{named}'
        if task.unique:
            # Not the arguments: an index takes 2,704 bytes, and shows them to whoever reads it.
            key = blake2b(f"{positional}{named}".encode(), digest_size=16).hexdigest()
            columns += f',"unique_key":"{key}"'
        return job_id, columns

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
        if self.headers is not None:
            options["headers"] = self.headers
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
    shared = call.shared()
    job_id, own = call.own(call.args)
    if call.task.unique:
        # Which job it is, only the database knows.
        parameters = {"parameter": f"{{{shared},{own}}}", "longest": call.task.longest_debounce}
        [(found, created, _)] = rows(sql.ENQUEUE_UNIQUE, parameters) or [(job_id, False, None)]
        return JobHandle(found, created=created)
    noted = _together.get()
    if call.id or (noted is None and _repeatable()):
        perform(sql.ENQUEUE_AGAIN, _rows({shared: [own]}))
    elif noted is None:
        perform(sql.ENQUEUE, f"{{{shared},{own}}}")
    else:
        noted[shared].append(own)
    return JobHandle(job_id)


def enqueue_many(
    task: "DurableTask[..., Any]", calls: Iterable[Iterable[Any]], **options: Any
) -> list[JobHandle]:
    """Insert a job for each tuple of positional arguments, in one statement.

        enqueue_many(email_receipt, [(order.pk,) for order in orders])

    options: as for `apply_async`. A wrong argument anywhere: nothing is inserted.
    """
    with _noted() as noted:
        if task.unique:
            return [task.apply_async(args, **options) for args in calls]
        for option in options.keys() - _OPTIONS:
            task.refuse(option)
        call = Call(task, (), {}, **options)
        shared = call.shared()
        made = [call.own(tuple(args)) for args in calls]
        noted[shared].extend(own for _, own in made)
        return [JobHandle(job_id) for job_id, _ in made]


@contextlib.contextmanager
def enqueue_together() -> Iterator[None]:
    """Insert what is enqueued in this block in one statement, at its end and in its transaction.

    An exception that leaves the block: nothing is inserted. Calls of `unique` tasks do not wait,
    since only the database knows which job they are.
    """
    with _noted():
        yield


@contextlib.contextmanager
def _noted() -> Iterator[_Noted]:
    outer = _together.get()
    if outer is not None:
        yield outer
        return
    noted: _Noted = defaultdict(list)
    token = _together.set(noted)
    try:
        yield noted
    finally:
        _together.reset(token)
    statement = sql.ENQUEUE_AGAIN if _repeatable() else sql.ENQUEUE_MANY
    for part in _parts(noted):
        perform(statement, _rows(part))


def _parts(noted: _Noted) -> Iterator[_Noted]:
    """As few parts as there may be, of _MOST_ROWS calls at most."""
    part: _Noted = defaultdict(list)
    room = _MOST_ROWS
    for shared, calls in noted.items():
        start = 0
        while start < len(calls):
            taken = calls[start : start + room]
            part[shared] = taken
            start += len(taken)
            room -= len(taken)
            if not room:
                yield part
                part, room = defaultdict(list), _MOST_ROWS
    if part:
        yield part


def _rows(noted: Mapping[str, list[str]]) -> str:
    """The JSON that sql.ENQUEUE_MANY and sql.ENQUEUE_AGAIN take."""
    groups = [f'{{{shared},"calls":[{{{_NEXT.join(calls)}}}]}}' for shared, calls in noted.items()]
    return f"[{','.join(groups)}]"


def _new_id(task: str, args: str, kwargs: str) -> UUID:
    run = _repeatable()
    return run.child_id(task, f"{args}{kwargs}") if run else ids.new()


def _repeatable() -> context.Run | None:
    """The run that enqueues, if it may get here again in another attempt: no transaction is around
    it. The jobs that it makes have the same ids then, and may exist.
    """
    run = context.current_run()
    return run if run and not run.atomic else None


def _surroundings(headers: Mapping[str, Any] | None) -> str:
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
