"""Pages of jobs, newest first, that take a moment however many jobs there are.

No index serves each combination of filters, and an index costs every job. So a page walks along
one that gives the order, looks at a stretch of it at a time, and stops when the page is full or its
time is up. It then says how far back it has looked, and the next page goes on from there: each job
is found, and none of the pages is slow.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import OperationalError, connections, transaction
from django.db.models import Q, QuerySet

from reliable.jobs import ids, inspection, sql_counts
from reliable.jobs.database import rows
from reliable.jobs.models import Job
from reliable.jobs.selection import Selection, jobs
from reliable.jobs.states import FINISHED, State
from reliable.jobs.times import Refused

#: Jobs on a page.
SIZE = 50
#: Seconds that a page looks for jobs.
BUDGET = 0.1
#: Jobs of the longest stretch.
LONGEST = 10_000
#: Jobs of a state that are counted.
MOST_COUNTED = 1000

# Jobs of the first stretch; each is four times as long as the one before.
_FIRST = 500
# States whose jobs are sorted in memory if they are no more than that.
_FEW = 2000
# Characters of an id that a search begins with: fewer would be any word.
_PREFIX = re.compile(r"[0-9a-f]{6,32}")
_HEXADECIMAL = 32
_CLOCKS_DIFFER = timedelta(hours=1)

# Behind all others of its moment.
_LAST = UUID(int=0)

# The columns of an order, of the job where a page ends.
Place = tuple[Any, ...]


@dataclass(frozen=True)
class Search:
    """A text that is looked for: the beginning of an id, or part of an argument that is shown."""

    text: str = ""

    @property
    def id_range(self) -> tuple[UUID, UUID] | None:
        digits = self.text.strip().lower().replace("-", "")
        # A number is an argument: ids begin with zeros for some hundred years.
        number = digits.isdecimal() and digits[0] != "0" and len(digits) < _HEXADECIMAL
        if number or not _PREFIX.fullmatch(digits):
            return None
        return UUID(digits.ljust(_HEXADECIMAL, "0")), UUID(digits.ljust(_HEXADECIMAL, "f"))

    def narrow(self, found: QuerySet[Job]) -> QuerySet[Job]:
        if not self.text:
            return found
        if ids := self.id_range:
            return found.filter(id__range=ids)
        # Wider than what is asked: `matches` decides on what is shown of the arguments.
        return found.filter(Q(args__icontains=self.text) | Q(kwargs__icontains=self.text))

    def matches(self, arguments: dict[str, Any], error: str, wanted: str) -> bool:
        """Whether what is asked for stands in what may be shown."""
        if wanted and wanted.casefold() not in error.casefold():
            return False
        if not self.text or self.id_range:
            return True
        text = self.text.casefold()
        return any(text in each.casefold() for each in _texts(list(arguments.values())))


@dataclass
class Row:
    """A job of a list, with what may be shown of its arguments and its error."""

    job: Job
    arguments: dict[str, Any]
    error: str


@dataclass
class Page:
    """`before` is where the next one begins, empty if there is none. `back_to` is set if this page
    stopped before it was full: all jobs since then were looked at.
    """

    rows: list[Row]
    before: str
    back_to: datetime | None


def page(selection: Selection, search: Search, before: str = "") -> Page:
    """The jobs before a place that an earlier page named. Raises Refused if it is none."""
    order = _order(selection, search)
    return order.page(selection, search, order.place(before) if before else None)


def state_counts() -> dict[str, int]:
    """How many jobs are in each state; one more than MOST_COUNTED if they are more."""
    [counts] = rows(sql_counts.STATE_COUNTS, {"most": MOST_COUNTED + 1})
    names = (State.WAITING, State.RUNNING, *FINISHED)
    return {
        str(name): min(count, MOST_COUNTED + 1) for name, count in zip(names, counts, strict=True)
    }


def count(selected: QuerySet[Job], most: int, seconds: float) -> int | None:
    """How many there are, `most + 1` if they are more; None if that takes longer than `seconds`."""
    connection = connections[selected.db]
    try:
        with transaction.atomic(using=selected.db), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {round(seconds * 1000)}")
            return selected.order_by()[: most + 1].count()
    except OperationalError:
        return None


@dataclass(frozen=True)
class _Order:
    """An order that an index serves. `among` are the jobs that it walks along; `exact` says that
    these are all that is asked for.
    """

    among: QuerySet[Job]
    columns: tuple[str, ...]
    exact: bool

    def page(self, selection: Selection, search: Search, after: Place | None) -> Page:
        wanted = search.narrow(self.among & selection.jobs())
        found: list[Row] = []
        length = _FIRST
        ends = time.monotonic() + BUDGET
        while True:
            last = None if self.exact else self._last(after, length)
            jobs_ = list(self._between(wanted, after, last)[: SIZE + 1])
            for job in jobs_:
                arguments, error = inspection.shown(job)
                if search.matches(arguments, error, selection.error):
                    found.append(Row(job, arguments, error))
            if len(found) > SIZE:
                return Page(found[:SIZE], self._written(self._key(found[SIZE - 1].job)), None)
            if len(jobs_) > SIZE:
                after = self._key(jobs_[-1])
            elif last is None:
                return Page(found, "", None)
            else:
                after = last
                length = min(length * 4, LONGEST)
            if time.monotonic() > ends:
                return Page(found, self._written(after), self._moment(after))

    def place(self, written: str) -> Place:
        """Where a page begins. Raises Refused."""
        try:
            *moments, number = written.split("_")
            place = (*(datetime.fromisoformat(each) for each in moments), UUID(number))
        except ValueError:
            place = ()
        if len(place) != len(self.columns):
            raise Refused("This page's address is of another list: begin with the newest.")
        return place

    def _written(self, place: Place) -> str:
        *moments, number = place
        return "_".join([*(each.astimezone(UTC).isoformat() for each in moments), str(number)])

    def _last(self, after: Place | None, length: int) -> Place | None:
        """Where the stretch ends that is so long; None if the jobs end before that."""
        # By the first column alone: with the id, the index would not be enough. So a stretch ends
        # behind all that ended in the same moment.
        first = self.columns[0]
        found = self.among
        if after is not None:
            within = "lte" if len(after) > 1 and after[1] != _LAST else "lt"
            found = found.filter(**{f"{first}__{within}": after[0]})
        ends = found.order_by(f"-{first}").values_list(first, flat=True)
        end = ends[length - 1 : length].first()
        if end is None:
            return None
        return (end, _LAST) if len(self.columns) > 1 else (end,)

    def _between(
        self, found: QuerySet[Job], after: Place | None, last: Place | None
    ) -> QuerySet[Job]:
        if after is not None:
            found = found.filter(_beyond(after, "lt", strictly=True))
        if last is not None:
            found = found.filter(_beyond(last, "gt", strictly=False))
        return found.order_by(*(f"-{name}" for name in self.columns))

    def _key(self, job: Job) -> Place:
        return tuple(getattr(job, name) for name in self.columns)

    def _moment(self, place: Place) -> datetime | None:
        if len(place) > 1:
            moment: datetime = place[0]
            return moment
        return jobs().filter(pk=place[0]).values_list("created_at", flat=True).first()


def _beyond(place: Place, compared: str, *, strictly: bool) -> Q:
    """Of `-finished_at, -id` or `-id` what comes after a place, or not after it."""
    *moments, number = place
    beyond = Q(**{f"id__{compared}{'' if strictly else 'e'}": number})
    if not moments:
        return beyond
    # The first condition is for the index, which does not understand the second.
    return Q(**{f"finished_at__{compared}e": moments[0]}) & (
        Q(**{f"finished_at__{compared}": moments[0]}) | beyond
    )


def _order(selection: Selection, search: Search) -> _Order:
    asked = {key for key, value in selection.as_json().items() if value} | (
        {"search"} if search.text else set()
    )
    if search.id_range:
        among = jobs().filter(id__range=search.id_range)
        return _Order(among, ("id",), exact=asked == {"search"})
    if len(selection.states) == 1 and selection.states[0] in FINISHED:
        indexed = Selection(states=selection.states, since=selection.since, until=selection.until)
        if selection.states == (State.FAILED,) and _one_group(selection):
            indexed = replace(
                indexed,
                tasks=selection.tasks,
                exception=selection.exception,
                place=selection.place,
            )
        exact = selection == indexed and not search.text
        return _Order(indexed.jobs(), ("finished_at", "id"), exact)
    few = _few(selection)
    if few is not None:
        return _Order(jobs().filter(pk__in=few), ("id",), exact=False)
    among = jobs()
    if selection.until:
        # What ended before was made before, by a clock that may be another one.
        among = among.filter(id__lt=ids.at(selection.until + _CLOCKS_DIFFER))
    return _Order(among, ("id",), exact=not asked)


def _one_group(selection: Selection) -> bool:
    return (
        len(selection.tasks) == 1
        and selection.exception is not None
        and selection.place is not None
    )


def _few(selection: Selection) -> list[UUID] | None:
    """The jobs of a state that are few, by the index of that state."""
    if selection.ids:
        return list(selection.ids)
    statement = _FEW_OF.get(selection.states[0]) if len(selection.states) == 1 else None
    if statement is None:
        return None
    found = [row[0] for row in rows(statement, {"most": _FEW + 1})]
    return found if len(found) <= _FEW else None


_FEW_OF = {State.WAITING: sql_counts.FEW_WAITING, State.RUNNING: sql_counts.FEW_RUNNING}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from _texts(list(value.values()))
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif value is not None:
        yield str(value)
