"""An entry's call: a durable task's job or a plain task's message, and why it could not be made."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from celery import Celery, current_app

from reliable import queues, schedule
from reliable.jobs.arguments import BadArgument, encode
from reliable.jobs.durable import DurableTask, registry
from reliable.jobs.enqueue import Call, enqueue
from reliable.schedule import Entry


def durable(entry: Entry) -> DurableTask[..., Any] | None:
    """The durable task that the entry names; None if it names a plain one."""
    return registry.get(entry.task)


def insert(name: str, entry: Entry, due: datetime) -> UUID:
    """Enqueue the job of a tick; of a `unique` task it may be one that is there already."""
    task = registry[entry.task]
    call = Call(
        task,
        entry.args,
        dict(entry.kwargs),
        queue=entry.queue,
        priority=entry.priority,
        expires=entry.expires,
        headers={"schedule": name, "due": due.isoformat()},
    )
    return enqueue(call).id


def send(app: Celery, entry: Entry, producer: Any = None) -> str:
    """Give a plain task to the broker; return its id. Raises what kombu and redis-py do."""
    options = {"queue": entry.queue, "priority": entry.priority, "expires": entry.expires}
    given = {name: value for name, value in options.items() if value is not None}
    task: Any = app.tasks[entry.task]
    return str(task.apply_async(entry.args, dict(entry.kwargs), producer=producer, **given).id)


def happens_in_beat(app: Celery, entry: Entry) -> bool:
    """Whether its task is not sent, but happens where it would be sent from: beat's own."""
    return bool(getattr(app.tasks[entry.task], "happens_in_beat", False))


def problems() -> list[str]:
    """Why no process may start with this schedule, now that tasks are loaded: a sentence each."""
    found = [
        f"The entry `{name}` of the schedule: {problem}"
        for name, entry in schedule.declared().items()
        for problem in _problems(current_app, entry)
    ]
    if others := sorted(current_app.conf.beat_schedule):
        found.append(
            f"CELERY_BEAT_SCHEDULE has the entry `{others[0]}`, and beat does not read it: move it"
            " to config/schedule.py, for example"
            ' "nightly-report": Entry("reports.tasks.nightly", crontab("0 3 * * *")).'
        )
    return found


def _problems(app: Celery, entry: Entry) -> Iterator[str]:
    known = queues.declared()
    task = durable(entry)
    if task is None and entry.task not in app.tasks:
        yield (
            f"`task` names {entry.task!r}, and there is no such task; write its full name, for"
            " example 'reports.tasks.nightly'."
        )
        return
    if entry.queue is not None and known and entry.queue not in known:
        yield (
            f"`queue` is {entry.queue!r}, which is not declared (declared: {', '.join(known)});"
            f" write for example queue={next(iter(known))!r}."
        )
    try:
        if task is not None:
            encode(task.name, task.signature, task.positional, entry.args, dict(entry.kwargs))
        else:
            _check_plain(app.tasks[entry.task], entry)
    except (BadArgument, TypeError, ValueError) as error:
        yield f"`args` and `kwargs` do not fit its task: {str(error).removesuffix('.')}."
    if task is None and entry.expires is None:
        yield (
            f"`expires` is missing, and {entry.task} is a plain task: a worker that was down for a"
            " day would run all of the day's ticks at once; write for example expires=3600."
        )


def _check_plain(task: Any, entry: Entry) -> None:
    json.dumps([entry.args, dict(entry.kwargs)])
    if task.typing:
        task.__header__(*entry.args, **entry.kwargs)
