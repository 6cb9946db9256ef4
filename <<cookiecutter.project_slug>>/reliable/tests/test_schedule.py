"""When entries tick when clocks change, what becomes of missed ticks, and what is refused."""

import functools
import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ImproperlyConfigured

from reliable.jobs.schedule.due import Due, due
from reliable.schedule import Crontab, Entry, Interval, crontab, every, fingerprint, validate

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
#: The days on which clocks change in 2027: forward, and back.
CHANGES = {BERLIN: ("2027-03-28", "2027-10-31"), NEW_YORK: ("2027-03-14", "2027-11-07")}


def entry(when: Crontab | Interval, **fields: Any) -> Entry:
    return validate({"entry": Entry("some.task", when, **fields)}, "UTC")["entry"]


def on(day: str, expression: str, zone: str) -> list[str]:
    """The ticks of a local day, each with its distance from UTC, the day before's midnight on."""
    midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    # Beginning a second before, since midnight itself may be a tick.
    ticks = entry(crontab(expression, timezone=zone)).ticks(midnight - timedelta(seconds=1))
    end = (midnight + timedelta(days=1)).astimezone(UTC)
    local = (tick.astimezone(ZoneInfo(zone)) for tick in takewhile(lambda tick: tick < end, ticks))
    return [f"{tick:%H:%M%z}"[:8] for tick in local]


@pytest.mark.parametrize(
    ("expression", "forward", "back"),
    [
        # Left out: it comes at the end of the gap. Repeated: it comes the first time.
        ("30 2 * * *", ["03:00+02"], ["02:30+02"]),
        ("0 2 * * *", ["03:00+02"], ["02:00+02"]),
        ("15,45 2 * * *", ["03:00+02"], ["02:15+02", "02:45+02"]),
        ("0 3 * * *", ["03:00+02"], ["03:00+01"]),
        ("59 1 * * *", ["01:59+01"], ["01:59+02"]),
        ("0 1-4 * * *", ["01:00+01", "03:00+02", "04:00+02"],
         ["01:00+02", "02:00+02", "03:00+01", "04:00+01"]),
    ],
)  # fmt: skip
def test_a_time_of_day_comes_once_on_the_day_that_clocks_change(
    expression: str, forward: list[str], back: list[str]
) -> None:
    assert on(CHANGES[BERLIN][0], expression, BERLIN) == forward
    assert on(CHANGES[BERLIN][1], expression, BERLIN) == back
    usual = on("2027-06-01", expression, BERLIN)
    assert len(usual) >= len(forward)


@pytest.mark.parametrize(
    ("expression", "forward", "back"),
    [
        ("30 2 * * *", ["03:00-04"], ["02:30-05"]),
        ("30 1 * * *", ["01:30-05"], ["01:30-04"]),
    ],
)
def test_it_is_the_same_in_another_zone(
    expression: str, forward: list[str], back: list[str]
) -> None:
    assert on(CHANGES[NEW_YORK][0], expression, NEW_YORK) == forward
    assert on(CHANGES[NEW_YORK][1], expression, NEW_YORK) == back


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize(("expression", "minutes"), [("0 * * * *", 60), ("*/15 * * * *", 15)])
def test_what_comes_each_hour_comes_in_each_hour_that_passes(
    zone: str, expression: str, minutes: int
) -> None:
    for day, hours in zip(CHANGES[zone], (23, 25), strict=True):
        assert len(on(day, expression, zone)) == hours * 60 // minutes


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize(
    "expression", ["30 2 * * *", "15,45 1-3 * * *", "0 * * * *", "*/20 2 * * *"]
)
def test_where_the_count_begins_changes_no_tick(zone: str, expression: str) -> None:
    """A beat that starts anew in the middle of the repeated hour goes on as the others do."""
    when = entry(crontab(expression, timezone=zone))
    for day in CHANGES[zone]:
        begin = datetime.fromisoformat(f"{day}T00:00:00+00:00") - timedelta(hours=6)
        end = begin + timedelta(hours=36)
        at_once = [*takewhile(functools.partial(operator.ge, end), when.ticks(begin))]
        assert all(earlier < later for earlier, later in pairwise(at_once))
        for minute in range(0, 36 * 60, 7):
            moment = begin + timedelta(minutes=minute, seconds=13, microseconds=7)
            assert when.next_tick(moment) == next(
                tick for tick in [*at_once, when.next_tick(end)] if tick > moment
            )


def test_an_interval_is_counted_from_1970_so_that_a_restart_moves_nothing() -> None:
    moment = datetime(2027, 3, 28, 0, 59, 59, 5, UTC)
    ticks = entry(every(minutes=5)).ticks(moment)
    assert [next(ticks) for _ in range(2)] == [
        datetime(2027, 3, 28, 1, 0, tzinfo=UTC),
        datetime(2027, 3, 28, 1, 5, tzinfo=UTC),
    ]
    on_it = datetime(2027, 3, 28, 1, 0, tzinfo=UTC)
    assert entry(every(minutes=5)).next_tick(on_it) == on_it + timedelta(minutes=5)


def test_the_projects_time_zone_is_that_of_a_crontab_that_names_none() -> None:
    declared = {"a": Entry("some.task", crontab("0 4 * * *"))}
    assert validate(declared, BERLIN)["a"].timing == "0 4 * * * Europe/Berlin"
    summer = datetime(2027, 7, 1, tzinfo=UTC)
    assert validate(declared, BERLIN)["a"].next_tick(summer).hour == 2


# --- Missed ticks --------------------------------------------------------------------------------

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)


def hours(*numbers: int) -> tuple[datetime, ...]:
    return tuple(NOON + timedelta(hours=number) for number in numbers)


@pytest.mark.parametrize(
    ("missed", "at_most", "run"),
    [("once", None, hours(4)), ("each", 3, hours(2, 3, 4)), ("each", 9, hours(1, 2, 3, 4)),
     ("skip", None, ())],
)  # fmt: skip
def test_of_ticks_that_were_missed_the_entry_says_which_run(
    missed: Any, at_most: int | None, run: tuple[datetime, ...]
) -> None:
    hourly = entry(every(hours=1), missed=missed, at_most=at_most)
    now = NOON + timedelta(hours=4, minutes=30)
    assert due(hourly, NOON, now) == Due(hours(4)[0], run, missed=4)


@pytest.mark.parametrize(("missed", "at_most"), [("once", None), ("each", 3), ("skip", None)])
def test_a_tick_that_is_a_minute_late_at_most_runs_and_is_not_missed(
    missed: Any, at_most: int | None
) -> None:
    hourly = entry(every(hours=1), missed=missed, at_most=at_most)
    now = NOON + timedelta(hours=1, seconds=60)
    assert due(hourly, NOON, now) == Due(hours(1)[0], hours(1), missed=0)


def test_with_skip_the_tick_of_now_runs_and_those_before_do_not() -> None:
    hourly = entry(every(hours=1), missed="skip")
    now = NOON + timedelta(hours=3, seconds=1)
    assert due(hourly, NOON, now) == Due(hours(3)[0], hours(3), missed=2)


def test_what_is_not_due_yet_is_left_alone() -> None:
    assert due(entry(every(hours=1)), NOON, NOON + timedelta(minutes=59)) is None


# --- What is refused -----------------------------------------------------------------------------


def declared(when: Any = None, task: Any = "some.task", **fields: Any) -> Callable[[], object]:
    return lambda: {"nightly": Entry(task, when or every(hours=1), **fields)}


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        (declared(crontab("0 0 31 2 *")), "`when` cannot be the crontab '0 0 31 2 *'"),
        (declared(crontab("* * */20 * 1L")), "it fires on no day of the next 50 years"),
        (declared(crontab("61 * * * *")), "Bad minute; write for example"),
        (declared(crontab("* * * *")), "it needs five fields"),
        (declared(crontab("0 10 4 * * *")), "it needs five fields"),
        (declared(crontab("@daily")), "it needs five fields"),
        (declared(crontab("0 4 * * *", timezone="Mars/Base")), "`timezone` cannot be 'Mars/Base'"),
        (declared(crontab("0 4 * * *", timezone="")), "`timezone` cannot be ''"),
        (declared(crontab("0 4 * * *", timezone="../etc")), "`timezone` cannot be '../etc'"),
        (declared(every(seconds=-5)), "`when` cannot be every -5 s"),
        (declared(every()), "`when` cannot be every 0 s"),
        (declared(Interval(timedelta(seconds=0.5))), "`when` cannot be every 0.5 s"),
        (declared(every(days=400)), "1 s to 366 days"),
        (declared("0 4 * * *"), "`when` cannot be '0 4 * * *'; write for example crontab("),
        (declared(missed="each"), "`at_most` says how many"),
        (declared(at_most=3), "`at_most` says how many"),
        (declared(missed="each", at_most=0), "`at_most` cannot be 0; write for example at_most=24"),
        (declared(missed="each", at_most=10**6), "`at_most` cannot be 1000000"),
        (declared(missed="twice"), "`missed` cannot be 'twice'"),
        (declared(priority=10), "`priority` cannot be 10"),
        (declared(expires=0), "`expires` cannot be 0"),
        (declared(expires=True), "`expires` cannot be True"),
        (declared(args=["eu"]), "`args` cannot be ['eu']; write for example args=("),
        (declared(kwargs={1: 2}), "`kwargs` cannot be {1: 2}"),
        (declared(task="nodots"), "`task` cannot be 'nodots'"),
        (declared(queue=3), "`queue` cannot be 3"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_entry_its_field_and_an_example(
    entries: Callable[[], object], sentence: str
) -> None:
    with pytest.raises(ImproperlyConfigured) as refused:
        validate(entries(), "UTC")
    assert str(refused.value).startswith("config/schedule.py: entry `nightly`: ")
    assert sentence in str(refused.value)
    assert "for example" in str(refused.value)


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([], "SCHEDULE cannot be a list"),
        ({"Bad name": Entry("a.b", every(hours=1))}, "'Bad name' is no name of an entry"),
        ({"a": {"task": "a.b"}}, "entry `a`: cannot be a dict"),
    ],
)
def test_what_is_no_schedule_is_refused(entries: object, sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=re.escape(sentence)):
        validate(entries, "UTC")


def test_two_releases_differ_if_anything_of_an_entry_does() -> None:
    base = {"a": entry(every(hours=1)), "b": entry(crontab("0 4 * * *"))}
    assert fingerprint(base) == fingerprint(dict(reversed(base.items())))
    for other in (
        {"a": base["a"]},
        {**base, "b": entry(crontab("0 5 * * *"))},
        {**base, "a": entry(every(hours=1), args=("eu",))},
    ):
        assert fingerprint(other) != fingerprint(base)
