"""Which jobs an operator means: filters, refused where they cannot be meant."""

import difflib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Q, QuerySet

from reliable import queues
from reliable.jobs import times
from reliable.jobs.durable import registry
from reliable.jobs.models import Job
from reliable.jobs.states import FINISHED, UNFINISHED, State
from reliable.jobs.times import Refused

# More names than this help nobody.
_MOST_NAMES = 40


@dataclass(frozen=True)
class Selection:
    """What must be true of a job; an empty field asks nothing."""

    states: tuple[State, ...] = ()
    tasks: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    error: str = ""
    # None asks nothing; an empty text is a group's name.
    exception: str | None = None
    place: str | None = None
    ids: tuple[uuid.UUID, ...] = ()

    def __bool__(self) -> bool:
        return self != Selection()

    def jobs(self) -> QuerySet[Job]:
        lookups = {
            "id__in": self.ids,
            "state__in": self.states,
            "task__in": self.tasks,
            "queue__in": self.queues,
            "tags__contains": list(self.tags),
            "error__icontains": self.error,
        }
        found = jobs().filter(**{name: value for name, value in lookups.items() if value})
        for name in ("exception", "place"):
            if (value := vars(self)[name]) is not None:
                found = found.filter(**{name: value})
        if self.since:
            found = found.filter(self._when("gte", self.since))
        if self.until:
            found = found.filter(self._when("lt", self.until))
        return found

    def _when(self, compared: str, moment: datetime) -> Q:
        """After an incident the question is what failed then, not what was enqueued then."""
        ended = Q(**{f"finished_at__{compared}": moment})
        # An index serves each of the two, but not both at once.
        if self.states and set(self.states) <= set(FINISHED):
            return ended
        enqueued = Q(**{f"created_at__{compared}": moment})
        if self.states and set(self.states) <= set(UNFINISHED):
            return enqueued
        return ended | Q(finished_at__isnull=True) & enqueued

    def as_json(self) -> dict[str, Any]:
        """What it asks, for a column; `from_json` reads it."""
        asked = {key: value for key, value in vars(self).items() if value not in ((), "", None)}
        # Empty, and yet a question: of a group whose failures have no place.
        asked.update({key: "" for key in ("exception", "place") if vars(self)[key] == ""})
        return {
            key: [str(each) for each in value]
            if isinstance(value, tuple)
            else value.isoformat()
            if isinstance(value, datetime)
            else value
            for key, value in asked.items()
        }

    @classmethod
    def from_json(cls, asked: Mapping[str, Any]) -> "Selection":
        read: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in asked.items()
        }
        read.update({k: datetime.fromisoformat(read[k]) for k in ("since", "until") if k in read})
        if "states" in read:
            read["states"] = tuple(map(State, read["states"]))
        if "ids" in read:
            read["ids"] = tuple(map(uuid.UUID, read["ids"]))
        return cls(**read)


def jobs() -> QuerySet[Job]:
    # Not where a router sends reads: a replica may be behind.
    return Job.objects.using(DEFAULT_DB_ALIAS)


def add_filters(parser: CommandParser) -> None:
    filters = parser.add_argument_group(
        "filters", "All must be true; of several values of one filter, one. Of tags, each."
    )
    for name, metavar, what in (
        ("state", "STATE", ", ".join(State.values)),
        ("task", "NAME", "as in @durable_task: module and function, unless it has a name"),
        ("queue", "QUEUE", "as declared"),
        ("tag", "TAG", ""),
        ("id", "ID", ""),
    ):
        filters.add_argument(f"--{name}", nargs="+", action="extend", metavar=metavar, help=what)
    filters.add_argument("--error", metavar="TEXT", help="the error contains it, in any case")
    when = "the job ended, or was enqueued if it has not ended"
    filters.add_argument("--since", metavar="TIME", help=f"2026-01-31T18:30, or 2h: {when}")
    filters.add_argument("--until", metavar="TIME", help="before that; as --since")


def parse(
    options: Mapping[str, Any], operation: str = "list", allowed: Sequence[State] = tuple(State)
) -> Selection:
    """The selection that command line options say. Raises Refused with what would do instead.

    Tasks must be loaded. `allowed`: the states that the operation can change.
    """
    since, until = (
        times.past(f"--{name}", options[name]) if options.get(name) else None
        for name in ("since", "until")
    )
    if since and until and since >= until:
        raise Refused("--since is not before --until: no job can be between them.")
    return Selection(
        states=_each(options, "state", lambda name: _state(name, operation, allowed)),
        tasks=_each(options, "task", _task),
        queues=_each(options, "queue", _queue),
        tags=_each(options, "tag", lambda tag: text("--tag", tag)),
        since=since,
        until=until,
        error=text("--error", options["error"]) if options.get("error") is not None else "",
        ids=_existing(_each(options, "id", job_id)),
    )


def job_id(value: str) -> uuid.UUID:
    try:
        return uuid.UUID(value)
    except ValueError as error:
        raise Refused(
            f"{value!r} is no job's id; one looks like 0199c5a2-7d5e-7c11-9f2a-3b1f5c6d7e8f."
        ) from error


def text(option: str, value: str) -> str:
    """Text that PostgreSQL can hold, and that says something."""
    # A byte of the command line that is no UTF-8 arrives as half of a surrogate pair.
    if not value.strip() or any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
        raise Refused(f"{option} {value!r} is no text; leave {option} out, or write some words.")
    return value


def _each(options: Mapping[str, Any], name: str, parse: Any) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(parse(value) for value in options.get(name) or ()))


def _state(name: str, operation: str, allowed: Sequence[State]) -> State:
    if name not in State.values:
        raise Refused(f"--state {name}: there is no such state; there are {_names(State.values)}.")
    if name not in allowed:
        raise Refused(f"--state {name}: {operation} takes jobs that are {_names(allowed)}.")
    return State(name)


def _task(name: str) -> str:
    # What an older release enqueued is a task too.
    if name in registry or jobs().filter(task=name).exists():
        return name
    known = {*registry, *jobs().values_list("task", flat=True).distinct()}
    near = difflib.get_close_matches(name, known, n=3)
    raise Refused(
        f"--task {name}: no durable task and no job is called so;"
        f" {'near it is' if near else 'there are'} {_names(near or sorted(known))}."
    )


def _queue(name: str) -> str:
    known = queues.declared()
    if name in known or jobs().filter(queue=name).exists():
        return name
    raise Refused(f"--queue {name}: it is not declared and has no job; declared: {_names(known)}.")


def _existing(ids: tuple[uuid.UUID, ...]) -> tuple[uuid.UUID, ...]:
    missing = set(ids) - set(jobs().filter(id__in=ids).values_list("id", flat=True))
    if missing:
        raise Refused(
            f"There is no job {min(missing)}: its transaction rolled back, or it was purged."
        )
    return ids


def _names(names: Iterable[str]) -> str:
    each = [str(name) for name in names]
    more = f" and {len(each) - _MOST_NAMES} more" if len(each) > _MOST_NAMES else ""
    return ", ".join(each[:_MOST_NAMES]) + more if each else "none"
