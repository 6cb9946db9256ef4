"""The schedule's declaration: which task runs when, and what becomes of a tick that was missed.

    SCHEDULE = {
        "monthly-invoices": Entry(
            "billing.tasks.invoice_all",
            crontab("30 6 1 * *", timezone="Europe/Berlin"),
            missed="each",
            at_most=3,
        ),
        "warm-prices": Entry("orders.tasks.warm_prices", every(minutes=5), expires=300),
    }

It is validated once into `settings.SCHEDULE`; every part reads that setting, never the file.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

Missed = Literal["once", "each", "skip"]

_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,99}")
_TASK = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")

#: Ticks that one catch-up may enqueue: each is a row of one transaction.
MOST_CAUGHT_UP = 1000

_LONGEST_INTERVAL = timedelta(days=366)
_FIELDS = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Crontab:
    """Five fields of cron and a time zone. Made by `crontab`, which describes them."""

    expression: str
    timezone: str | None = None

    def __str__(self) -> str:
        return f"{' '.join(self.expression.split())} {self.timezone}"

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The ticks after a moment, in UTC; each is later than the one before."""
        if self.timezone is None:
            raise ValueError(f"{self.expression}: validate() sets the time zone.")
        for local in CronSim(self.expression, moment.astimezone(ZoneInfo(self.timezone))):
            # Python compares two times of one zone by the clock on the wall, which is set back once
            # a year; and the library begins there, so that its first ticks may lie before.
            tick = local.astimezone(UTC)
            if tick > moment:
                yield tick
                moment = tick


@dataclass(frozen=True)
class Interval:
    """So many seconds, counted from 1970. Made by `every`, which describes it."""

    length: timedelta

    def __str__(self) -> str:
        return f"every {self.length.total_seconds():.0f} s"

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The ticks after a moment, in UTC."""
        tick = _EPOCH + (moment - _EPOCH) // self.length * self.length
        while True:
            tick += self.length
            yield tick


def crontab(expression: str, *, timezone: str | None = None) -> Crontab:
    """Minute, hour, day of the month, month, day of the week: `crontab("10 4 * * mon-fri")`.

    timezone: of the clock on the wall that it means; by default the project's. As in Debian's cron,
    a time that a change to daylight saving leaves out comes at the end of the gap, and one that the
    change back repeats comes once, the first time. What begins with `*` as its minute or hour,
    `0 * * * *` or `*/15 * * * *`, comes in each hour that passes.
    https://github.com/cuu508/cronsim has the syntax: `*/5`, `1-5`, `mon`, `L`, `LW`, `mon#1`.
    """
    return Crontab(expression, timezone)


def every(*, days: int = 0, hours: int = 0, minutes: int = 0, seconds: int = 0) -> Interval:
    """At the multiples of an interval since 1970 in UTC, so that no restart moves them:
    `every(minutes=5)` is at 12:00, 12:05, and so on.
    """
    return Interval(timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds))


@dataclass(frozen=True)
class Entry:
    """A periodic call of a task.

    task: its full name. A durable task's tick is a job, inserted with the note that it was; a plain
        task's is noted and then sent, so that it happens at most once.
    when: `crontab(...)` or `every(...)`.
    args, kwargs: of the call; JSON.
    missed: what becomes of ticks that no beat could take in time, since all were down. "once": the
        last of them runs late. "each": the last `at_most` of them run late. "skip": none.
    queue, priority: instead of the task's own.
    expires: seconds after which a call that did not start is dropped. A plain task needs it: else
        a worker that was down for a day runs all of the day's ticks at once.
    """

    task: str
    when: Crontab | Interval
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    missed: Missed = "once"
    at_most: int | None = None
    queue: str | None = None
    priority: int | None = None
    expires: int | None = None

    @cached_property
    def timing(self) -> str:
        """When it ticks, in words; if another release says otherwise, the entry starts anew."""
        return str(self.when)

    def ticks(self, after: datetime) -> Iterator[datetime]:
        return self.when.after(after)

    def next_tick(self, after: datetime) -> datetime:
        return next(self.ticks(after))


def declared() -> Mapping[str, Entry]:
    """The declaration in the settings; empty in a project that has none."""
    entries: Mapping[str, Entry] = getattr(settings, "SCHEDULE", {})
    return entries


def fingerprint(entries: Mapping[str, Entry]) -> str:
    """The same for two releases whose schedules are the same."""
    text = repr(sorted((name, repr(entry)) for name, entry in entries.items()))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def validate(
    entries: object, time_zone: str, source: str = "config/schedule.py"
) -> dict[str, Entry]:
    """Return the declaration with each crontab's time zone, or raise ImproperlyConfigured.

    What only loaded tasks can tell, `reliable.jobs.schedule.problems` says: whether the task exists
    and takes the arguments. `time_zone` is the default; `source` names the place in messages.
    """
    if not isinstance(entries, Mapping):
        raise ImproperlyConfigured(
            f"{source}: SCHEDULE cannot be a {type(entries).__name__}; write for example"
            ' SCHEDULE = {"nightly-report": Entry("reports.tasks.nightly", crontab("0 3 * * *"))}.'
        )
    valid = {}
    for name, entry in entries.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ImproperlyConfigured(
                f"{source}: {name!r} is no name of an entry; use lower-case letters, digits, `-`,"
                " `_` and `.`, for example `nightly-report`."
            )
        where = f"{source}: entry `{name}`"
        if not isinstance(entry, Entry):
            raise ImproperlyConfigured(
                f"{where}: cannot be a {type(entry).__name__}; write for example"
                ' Entry("reports.tasks.nightly", crontab("0 3 * * *")).'
            )
        valid[name] = _entry(entry, time_zone, where)
    return valid


def _entry(entry: Entry, time_zone: str, where: str) -> Entry:
    if not isinstance(entry.task, str) or not _TASK.fullmatch(entry.task):
        raise _wrong(where, "task", entry.task, '"reports.tasks.nightly"')
    if not isinstance(entry.args, tuple):
        raise _wrong(where, "args", entry.args, 'args=("eu",)')
    if not isinstance(entry.kwargs, Mapping) or not all(
        isinstance(key, str) for key in entry.kwargs
    ):
        raise _wrong(where, "kwargs", entry.kwargs, 'kwargs={"region": "eu"}')
    if entry.missed not in ("once", "each", "skip"):
        raise _wrong(where, "missed", entry.missed, 'missed="once", "each" or "skip"')
    if (entry.missed == "each") != (entry.at_most is not None):
        raise ImproperlyConfigured(
            f"{where}: `at_most` says how many of the missed ticks run late, and belongs to"
            ' `missed="each"`; write for example missed="each", at_most=24.'
        )
    _number(entry.at_most, 1, MOST_CAUGHT_UP, where, "at_most", "at_most=24")
    _number(entry.priority, 0, 9, where, "priority", "priority=5")
    _number(entry.expires, 1, None, where, "expires", "expires=3600")
    if entry.queue is not None and not isinstance(entry.queue, str):
        raise _wrong(where, "queue", entry.queue, 'queue="default"')
    if isinstance(entry.when, Interval):
        _check_interval(entry.when, where)
        return entry
    if isinstance(entry.when, Crontab):
        return replace(entry, when=_crontab(entry.when, time_zone, where))
    raise _wrong(where, "when", entry.when, 'crontab("10 4 * * *") or every(minutes=5)')


def _check_interval(interval: Interval, where: str) -> None:
    whole = interval.length % timedelta(seconds=1) == timedelta(0)
    if not whole or not timedelta(seconds=1) <= interval.length <= _LONGEST_INTERVAL:
        raise ImproperlyConfigured(
            f"{where}: `when` cannot be every {interval.length.total_seconds():g} s; an interval is"
            " a whole number of seconds, 1 s to 366 days, for example every(minutes=5)."
        )


def _crontab(given: Crontab, time_zone: str, where: str) -> Crontab:
    zone = time_zone if given.timezone is None else given.timezone
    try:
        ZoneInfo(zone)
    except (ValueError, TypeError, OSError, ZoneInfoNotFoundError) as error:
        raise _wrong(where, "timezone", zone, 'timezone="Europe/Berlin"') from error
    example = 'crontab("10 4 * * *")'
    # The library also takes six, with seconds first: a crontab that is one field off.
    if not isinstance(given.expression, str) or len(given.expression.split()) != _FIELDS:
        raise ImproperlyConfigured(
            f"{where}: `when` cannot be the crontab {given.expression!r}: it needs five fields,"
            f" minute, hour, day of the month, month, day of the week; write for example {example}."
        )
    crontab = replace(given, timezone=zone)
    try:
        found = list(islice(crontab.after(datetime.now(UTC)), 1))
    except CronSimError as error:
        raise ImproperlyConfigured(
            f"{where}: `when` cannot be the crontab {given.expression!r}: {error}; write for"
            f" example {example}."
        ) from error
    if not found:
        raise ImproperlyConfigured(
            f"{where}: `when` cannot be the crontab {given.expression!r}: it fires on no day of the"
            f" next 50 years; write for example {example}."
        )
    return crontab


def _number(
    value: object, least: int, most: int | None, where: str, name: str, example: str
) -> None:
    if value is None:
        return
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or value < least
        or (most is not None and value > most)
    ):
        raise _wrong(where, name, value, example)


def _wrong(where: str, name: str, value: object, example: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"{where}: `{name}` cannot be {value!r}; write for example {example}."
    )
