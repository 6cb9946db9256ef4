"""The filters of an address, as `manage.py jobs` has them as options."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict

from reliable.jobs import times
from reliable.jobs.browse import Search
from reliable.jobs.selection import Selection, job_id, text
from reliable.jobs.states import State
from reliable.jobs.times import Refused

_PLAIN = ("state", "task", "queue", "tag", "since", "until", "error", "q")
# An empty one is a group's name, too.
_GROUP = ("exception", "place")
_WORDS = {
    "states": "state",
    "tasks": "task",
    "queues": "queue",
    "tags": "tag",
    "since": "since",
    "until": "until",
    "error": "error contains",
    "exception": "exception",
    "place": "in",
    "ids": "id",
}
# Ids that are named one by one.
_NAMED = 3


@dataclass(frozen=True)
class Filters:
    """What somebody asked for, as typed and as understood."""

    asked: Mapping[str, str] = field(default_factory=dict)
    ids: tuple[str, ...] = ()
    selection: Selection = field(default_factory=Selection)
    search: Search = field(default_factory=Search)

    @property
    def query(self) -> str:
        """For an address of the same filters."""
        return urlencode(self.hidden)

    def with_(self, **changes: str) -> str:
        """An empty value takes the filter away."""
        asked = {**self.asked, **changes}
        gone = {name for name, value in changes.items() if not value}
        return urlencode({name: value for name, value in asked.items() if name not in gone})

    def without(self, name: str) -> str:
        return self.with_(**{name: ""})

    @property
    def hidden(self) -> list[tuple[str, str]]:
        """For a form that asks the same."""
        return [*self.asked.items(), *(("id", each) for each in self.ids)]


def typed(data: QueryDict) -> dict[str, str]:
    """What stands in the fields, whether it can be understood or not."""
    asked = {name: data.get(name, "").strip() for name in _PLAIN}
    group = {name: data.get(name, "") for name in _GROUP if name in data}
    return {name: value for name, value in asked.items() if value} | group


def read(data: QueryDict) -> Filters:
    """Raises Refused with what would do instead."""
    asked = typed(data)
    for name, value in asked.items():
        if value:
            text(_said(name), value)
    if "state" in asked and asked["state"] not in State.values:
        raise Refused(f"There is no state {asked['state']!r}; there are {', '.join(State.values)}.")
    since, until = (
        times.past(_said(name), asked[name]) if name in asked else None
        for name in ("since", "until")
    )
    if since and until and since >= until:
        raise Refused("Since is not before until: no job can be between them.")
    ids = tuple(map(job_id, data.getlist("id")))
    return Filters(
        asked=asked,
        ids=tuple(map(str, ids)),
        selection=Selection(
            states=(State(asked["state"]),) if "state" in asked else (),
            tasks=_one(asked, "task"),
            queues=_one(asked, "queue"),
            tags=_one(asked, "tag"),
            since=since,
            until=until,
            error=asked.get("error", ""),
            exception=asked.get("exception"),
            place=asked.get("place"),
            ids=ids,
        ),
        search=Search(asked.get("q", "")),
    )


def described(selection: Selection) -> list[tuple[str, str]]:
    """The selection in words: what is asked for, and its values."""
    found: list[tuple[str, str]] = []
    for name, word in _WORDS.items():
        value = getattr(selection, name)
        if value in ((), "", None):
            continue
        found.append((word, _value(value)))
    return found


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        listed = ", ".join(map(str, value[:_NAMED]))
        return f"{listed} and {len(value) - _NAMED:,} more" if len(value) > _NAMED else listed
    return times.local(value) if hasattr(value, "tzinfo") else str(value)


def _one(asked: Mapping[str, str], name: str) -> tuple[str, ...]:
    return (asked[name],) if name in asked else ()


def _said(name: str) -> str:
    return {"q": "Search", "error": "Error"}.get(name, name.capitalize())
