"""Several real beats: each tick once, whatever is killed, frozen, restarted or set wrong."""

import json
import os
import signal
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from reliable.supervisor.programs import BEAT_STOP_WAIT
from reliable.testing.effects import Effects
from reliable.testing.processes import Process
from reliable.testing.system import System
from reliable.testing.waiting import let_pass, wait_until

AWAY = float(os.environ.get("AWAY", "3"))

# Debian: `apt-get install faketime`.
FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)

SETTINGS = """
from config.settings import *
from reliable.schedule import Entry, crontab, every, validate

CELERY_INCLUDE = ["reliable.testing.tasks", "reliable.testing.jobs"]
SCHEDULE = validate({{{entries}}}, "UTC")
"""
#: A durable entry and a plain one, each second.
EACH_SECOND = """
    "durable": Entry(
        "reliable.testing.jobs.note", every(seconds=1), ("tick",), missed="each", at_most=1000
    ),
    "plain": Entry(
        "reliable.testing.tasks.nap", every(seconds=1), ("tick",), missed="each", at_most=1000,
        expires=3600,
    ),
"""


def declare(system: System, entries: str, release: str = "a") -> None:
    """Let what is started from now on have this schedule."""
    name = f"schedule_of_{release}"
    text = SETTINGS.format(entries=entries)
    (system.directory / f"{name}.py").write_text(text, encoding="utf-8")
    system.environment |= {
        "DJANGO_SETTINGS_MODULE": name,
        "PYTHONPATH": f"{system.directory}:{settings.SUPERVISOR['directory']}",
    }


class Ticks:
    """What was enqueued and sent, as the database, the broker and the beats have it."""

    def __init__(self, system: System, effects: Effects) -> None:
        self.system = system
        self.effects = effects

    def of(self, name: str = "durable") -> list[datetime]:
        """The moments for which jobs of an entry are there, sorted, with repetitions."""
        found = self.effects.ask(
            "SELECT (headers->>'due')::timestamptz FROM reliable_job"  # noqa: S608
            f" WHERE headers->>'schedule' = '{name}' ORDER BY 1"
        )
        return [due for (due,) in found]

    def sent(self, name: str = "plain") -> list[datetime]:
        """The moments for which beats say that they have sent a plain entry's task, sorted."""
        lines = [
            json.loads(line)
            for process in self.system.processes
            for line in process.lines
            if '"schedule.ticked"' in line and f'"{name}"' in line
        ]
        return sorted(datetime.fromisoformat(line["due"]) for line in lines)

    def all_sent(self) -> list[datetime]:
        """The same, when none is missing between two others.

        Of two beats, one may say what it has sent after the other has said so of the next.
        """

        def without_a_gap() -> list[datetime]:
            sent = self.sent()
            whole = sent and len(set(sent)) > (sent[-1] - sent[0]).total_seconds()
            return sent if whole else []

        return wait_until(without_a_gap, "the lines of all that were sent", saw=self.sent)

    def in_broker(self, queue: str = "default", task: str = "reliable.testing.tasks.nap") -> int:
        """How many messages of a task wait; beat's first probes may wait beside them."""
        with self.system.servers.broker.client(self.system.broker_database) as client:
            waiting = client.lrange(queue, 0, -1)
        return sum(json.loads(message)["headers"]["task"] == task for message in waiting)

    def row(self, name: str, columns: str) -> tuple[Any, ...]:
        [row] = self.effects.ask(
            f"SELECT {columns} FROM reliable_schedule WHERE name = '{name}'"  # noqa: S608
        )
        return row

    def more(self, count: int, name: str = "durable", timeout: float = 30.0) -> None:
        """Wait until so many more are there."""
        before = len(self.of(name))
        wait_until(lambda: len(self.of(name)) >= before + count, "ticks", timeout=timeout)


def each_once(ticks: list[datetime], step: float = 1.0) -> int:
    """From the first to the last none is lost and none repeated; returns how many there are."""
    count = round((ticks[-1] - ticks[0]).total_seconds() / step) + 1
    expected = {ticks[0] + timedelta(seconds=step) * number for number in range(count)}
    repeated = {tick for tick, times in Counter(ticks).items() if times > 1}
    assert {"lost": expected - set(ticks), "repeated": repeated} == {
        "lost": set(),
        "repeated": set(),
    }
    assert set(ticks) == expected
    return count


@pytest.fixture
def ticks(system: System, effects: Effects) -> Ticks:
    return Ticks(system, effects)


@pytest.fixture
def two_beats(system: System, ticks: Ticks) -> list[Process]:
    declare(system, EACH_SECOND)
    beats = [system.beat(release="a"), system.beat(release="b")]
    ticks.more(1)
    return beats


def shut_down(postgresql: Process) -> None:
    os.kill(postgresql.pid, signal.SIGINT)
    postgresql.wait()


def test_beats_that_are_killed_in_turn_tick_each_tick_once(
    system: System, ticks: Ticks, two_beats: list[Process]
) -> None:
    for turn in range(4):
        victim = two_beats[turn % 2]
        victim.kill()
        victim.wait()
        victim.start()
        ticks.more(3)
    messages = ticks.in_broker()  # before the jobs are counted: the beats go on
    count = each_once(ticks.of())
    sent = ticks.sent()
    took = [beat.output.count("schedule.ticked") for beat in two_beats]
    print(f"{count} jobs, {len(sent)} messages; lines of each beat: {took}")
    assert min(took) > 0
    assert len(set(sent)) == len(sent)
    # At most once: of a plain task a kill between its note and its message loses one catch-up.
    assert messages <= count + 1


@pytest.mark.chaos
def test_a_beat_that_is_frozen_holds_up_nothing_and_repeats_nothing_when_it_thaws(
    system: System, ticks: Ticks, two_beats: list[Process]
) -> None:
    for turn in range(4):
        two_beats[turn % 2].freeze()
        ticks.more(7)  # longer than the database lets a frozen beat hold an entry
        two_beats[turn % 2].thaw()
    for beat in two_beats:
        beat.freeze()
    before = len(ticks.of())
    for beat in two_beats:
        beat.thaw()
    wait_until(lambda: len(ticks.of()) > before + 2, "ticks of the thawed")
    each_once(ticks.of())
    wait_until(lambda: ticks.in_broker() == len(ticks.sent()), "the plain ones")
    each_once(ticks.all_sent())


@pytest.mark.chaos
@pytest.mark.skipif(
    not FAKETIME and "CI" not in os.environ, reason="needs libfaketime: apt-get install faketime"
)
def test_clocks_of_hosts_that_are_wrong_by_an_hour_change_no_tick(
    system: System, ticks: Ticks, effects: Effects
) -> None:
    declare(system, EACH_SECOND)
    system.environment |= {"LD_PRELOAD": str(FAKETIME), "FAKETIME_NO_CACHE": "1"}
    begun = effects.now()
    offsets = {release: system.directory / f"offset-{release}" for release in "ab"}
    for (release, file), offset in zip(offsets.items(), ("+3600", "-3600"), strict=True):
        file.write_text(offset)
        system.environment["FAKETIME_TIMESTAMP_FILE"] = str(file)
        system.beat(release=release)
    ticks.more(5)
    for file, offset in zip(offsets.values(), ("-3600", "+7200"), strict=True):
        file.write_text(offset)  # stepped while they run
    ticks.more(5)
    found = ticks.of()
    each_once(found)
    each_once(ticks.all_sent())
    assert begun <= found[0].timestamp() <= found[-1].timestamp() <= effects.now()


@pytest.mark.chaos
@pytest.mark.own_servers
@pytest.mark.skipif(
    not FAKETIME and "CI" not in os.environ, reason="needs libfaketime: apt-get install faketime"
)
def test_steps_of_the_databases_clock_lose_no_tick_and_repeat_none(
    system: System, ticks: Ticks, effects: Effects
) -> None:
    offset = system.directory / "offset"
    offset.write_text("+0\n")
    postgresql = system.servers.processes["postgresql"]
    shut_down(postgresql)
    postgresql.environment |= {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    start(system)
    declare(system, EACH_SECOND.replace("seconds=1)", "seconds=5)"))
    for release in "ab":
        system.beat(release=release)
    ticks.more(1)
    offset.write_text("+3600\n")
    ticks.more(721)
    offset.write_text("+0\n")
    # Their hour comes again: what was done is not repeated. Then it is over.
    wait_until(lambda: ticks.row("durable", "last_due > clock_timestamp()") == (True,), "the step")
    sent = len(ticks.of())
    for beat in system.processes[-2:]:
        wait_for_rounds(effects, beat)
    assert len(ticks.of()) == sent
    offset.write_text("+3610\n")
    ticks.more(2)
    each_once(ticks.of(), step=5)


@pytest.mark.chaos
@pytest.mark.own_servers
def test_a_restart_of_the_database_makes_ticks_late_and_loses_none(
    system: System, ticks: Ticks, two_beats: list[Process]
) -> None:
    for away in (0.0, AWAY):
        shut_down(system.servers.processes["postgresql"])
        gone = time.monotonic()
        let_pass(away, since=gone)
        start(system)
        ticks.more(3)
    each_once(ticks.of())
    assert all(beat.alive for beat in two_beats)
    for beat in two_beats:
        beat.wait_for_output("schedule.database_lost")
        beat.wait_for_output("schedule.database_back")


def test_without_a_broker_durable_ticks_go_on_and_plain_ones_come_late_and_once(
    system: System, ticks: Ticks
) -> None:
    network = system.broker_proxy()
    declare(system, EACH_SECOND)
    beats = [system.beat(release="a"), system.beat(release="b")]
    ticks.more(3)
    network.refuse()
    for beat in beats:
        beat.wait_for_output("schedule.broker_lost")
    had = len(ticks.sent())
    ticks.more(3)
    assert len(ticks.sent()) == had
    network.accept()
    wait_until(lambda: len(ticks.sent()) > had + 3, "plain ticks")
    each_once(ticks.of())
    each_once(ticks.all_sent())
    assert not any("schedule.not_sent" in beat.output for beat in beats)


def test_a_beat_that_is_stopped_leaves_at_once_and_says_so(
    system: System, ticks: Ticks, effects: Effects
) -> None:
    declare(system, EACH_SECOND)
    beat = system.beat()
    ticks.more(1)
    began = time.monotonic()
    beat.terminate()
    assert beat.wait(timeout=10) == 0
    assert time.monotonic() - began < BEAT_STOP_WAIT
    assert effects.ask("SELECT count(*) FROM reliable_beat WHERE stopped_at IS NOT NULL") == [(1,)]
    assert not list(system.directory.glob("*schedule.db*"))


@pytest.mark.chaos
def test_of_two_releases_the_one_that_started_last_ticks_and_the_other_takes_over_when_it_dies(
    system: System, ticks: Ticks
) -> None:
    declare(system, EACH_SECOND, release="old")
    old = system.beat(release="a")
    ticks.more(1)
    changed = EACH_SECOND.replace('seconds=1), ("tick",), missed', 'seconds=2), ("tick",), missed')
    declare(system, changed.replace('"plain"', '"renamed"'), release="new")
    new = system.beat(release="b")
    new.wait_for_output("schedule.removed")
    old.wait_for_output("schedule.stands_by")
    [changed_at] = ticks.row("durable", "last_due")
    had = len(ticks.of())
    ticks.more(3)
    wait_until(lambda: ticks.sent("renamed"), "an entry of the new one")
    later = [tick for tick in ticks.of() if tick > changed_at]
    assert all(tick.second % 2 == 0 for tick in ticks.of()[had:])
    each_once(later, step=2)
    assert ticks.row("plain", "removed_at IS NOT NULL") == (True,)
    new.kill()
    killed = time.monotonic()
    old.wait_for_output("schedule.in_force", timeout=30)
    print(f"the old release took over after {time.monotonic() - killed:.1f} s")
    ticks.more(3)
    assert ticks.row("plain", "removed_at IS NULL") == (True,)
    assert len(set(ticks.of())) == len(ticks.of())


def start(system: System) -> None:
    system.servers.processes["postgresql"].start()
    system.servers.wait_for("postgresql")
    connection.close()  # this process's: it broke as well


def wait_for_rounds(effects: Effects, beat: Process) -> None:
    """Wait until each beat has looked at the database three times."""
    assert beat.alive

    def seen() -> list[tuple[Any, ...]]:
        return sorted(effects.ask("SELECT id, seen_at FROM reliable_beat"))

    for _ in range(3):
        before = dict(seen())
        wait_until(lambda: all(before[key] != at for key, at in seen()), "a round")  # noqa: B023
