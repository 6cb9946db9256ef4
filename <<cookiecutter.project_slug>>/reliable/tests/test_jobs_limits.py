"""The limit of a queue's running jobs holds over all workers, at every moment, and costs little."""

import random
import statistics
import time
from typing import Any

import pytest

from reliable.jobs import enqueue_together, operations
from reliable.testing.effects import Effects
from reliable.testing.jobs import effect, effect_at, rest, work_until
from reliable.testing.system import System
from reliable.testing.waiting import wait_until

# Each claim with its end. A place is free from the commit of the end on, which is later than what
# stands there: what overlaps here has overlapped.
_CLAIMS = """
SELECT started_at, finished_at FROM reliable_job WHERE state = 'succeeded'
UNION ALL
SELECT started_at, ended_at FROM reliable_attempt
"""


def most_at_once(effects: Effects) -> int:
    """The highest number of claims that were held at one moment."""
    changes = [
        change for began, ended in effects.ask(_CLAIMS) for change in ((began, 1), (ended, -1))
    ]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def running(effects: Effects) -> int:
    return effects.states.get("running", 0)


def test_a_limit_is_used_up_and_never_exceeded_while_children_are_killed(
    system: System, effects: Effects, chance: random.Random
) -> None:
    operations.limit("default", limit=3, by="ada")
    for release in ("a", "b"):
        system.relay(release=release)
    workers = [system.worker(release=release, concurrency=4) for release in ("a", "b")]
    names = {f"job {number}" for number in range(240)}
    with enqueue_together():
        for name in names:
            effect.delay(name, chance.uniform(0.005, 0.08))
    # Of all, not of what is left: fast workers would be done before the last of these.
    for kills in range(8):
        effects.wait_for_more("effect", 12, than=12 * kills)
        worker = chance.choice(workers)
        chance.choice(wait_until(worker.children, "a child")).kill()
    effects.wait_for_end()
    effects.assert_once(names)
    assert effects.states == {"succeeded": len(names)}
    assert most_at_once(effects) == 3


def test_many_claims_at_once_fill_a_limit_and_none_exceeds_it(
    system: System, effects: Effects
) -> None:
    """A relay that has not heard of the limit yet sends far too many messages."""
    workers = [system.worker(release=release, concurrency=6) for release in ("a", "b")]
    names = {f"job {number}" for number in range(40)}
    for name in names:
        work_until.delay(name, "released")
    for worker in workers:
        worker.freeze(tree=True)
    relay = system.relay()
    offered = "SELECT count(*) FROM reliable_job WHERE published_at IS NOT NULL"
    wait_until(lambda: effects.ask(offered) == [(40,)], "messages")
    relay.terminate()
    relay.wait()
    operations.limit("default", limit=5, by="ada")
    for worker in workers:
        worker.thaw(tree=True)
    wait_until(lambda: running(effects) == 5, "a full queue")
    # Refused, and offered to nobody until there is a place.
    wait_until(lambda: effects.ask(offered) == [(0,)], "claims")
    system.relay()
    system.events.record("released", "")
    effects.wait_for_end()
    assert effects.states == {"succeeded": 40}
    assert most_at_once(effects) == 5


@pytest.mark.parametrize("task", [effect, rest], ids=lambda task: task.__name__)
def test_a_freed_place_is_filled_at_once(system: System, effects: Effects, task: Any) -> None:
    """Also by the end of a body that did nothing in the database, which has no transaction."""
    operations.limit("default", limit=1, by="ada")
    relay = system.relay()
    system.worker(concurrency=4)
    with enqueue_together():
        for number in range(60):
            task.delay(f"job {number}", 0.02)
    effects.wait_for_end()
    gaps = effects.ask("""
        SELECT extract(epoch FROM started_at - lag(finished_at) OVER (ORDER BY started_at))::float
        FROM reliable_job ORDER BY started_at OFFSET 1
    """)
    seconds = [gap for (gap,) in gaps]
    print(
        f"a place is filled after {statistics.median(seconds) * 1000:.0f} ms, and at the latest"
        f" after {max(seconds) * 1000:.0f}"
    )
    assert statistics.median(seconds) < 0.1
    assert most_at_once(effects) == 1
    assert relay.alive


def test_a_full_queue_costs_nothing(system: System, effects: Effects) -> None:
    operations.limit("default", limit=1, by="ada")
    system.relay()
    system.worker(concurrency=4)
    for name in ("holds", "waits"):
        work_until.delay(name, "released")
    wait_until(lambda: {"holds", "waits"} & {*system.events.of("start")}, "a start")
    ask = "SELECT max(offers), sum(claim_no) FROM reliable_job WHERE state <> 'succeeded'"
    [before] = effects.ask(ask)
    beats = "SELECT sum(beat) FROM reliable_worker"
    [(began,)] = effects.ask(beats)
    wait_until(lambda: effects.ask(beats)[0][0] >= began + 2, "four seconds")
    [after] = effects.ask(ask)
    assert after == before  # nobody offers what has no place
    system.events.record("released", "")
    effects.wait_for_end()


def test_a_limit_is_lowered_raised_and_removed_while_jobs_run(
    system: System, effects: Effects
) -> None:
    system.relay()
    for release in ("a", "b"):
        system.worker(release=release, concurrency=4)
    for number in range(20):
        work_until.delay(f"first {number}", "first")
    wait_until(lambda: running(effects) == 8, "all slots busy")
    # What began without a limit counts.
    operations.limit("default", limit=3, by="ada")
    low = effects.now()
    system.events.record("first", "")
    wait_until(lambda: len(system.events.of("end")) == 20, "the first")
    for number in range(20):
        work_until.delay(f"second {number}", "second")
    wait_until(lambda: running(effects) == 3, "three of the second")
    operations.limit("default", limit=6, by="ada")
    wait_until(lambda: running(effects) == 6, "three more")
    assert operations.limit("default", limit=2, by="ada") == 6
    assert operations.limit("default", limit=None, by="ada") == 2
    wait_until(lambda: running(effects) == 8, "all slots busy again")
    system.events.record("second", "")
    effects.wait_for_end()
    assert effects.states == {"succeeded": 40}
    began_low = effects.ask(f"""
        SELECT job.name, (
            SELECT count(*) FROM reliable_job AS other
            WHERE other.started_at < job.started_at AND other.finished_at > job.started_at
        ) FROM (
            SELECT args ->> 0 AS name, started_at FROM reliable_job
            WHERE started_at > to_timestamp({low}) AND args ->> 0 LIKE 'first%'
        ) AS job
    """)  # noqa: S608
    assert len(began_low) == 12
    assert max(others for _, others in began_low) == 2


@pytest.mark.chaos
def test_the_place_of_a_frozen_worker_goes_to_another(system: System, effects: Effects) -> None:
    operations.limit("default", limit=1, by="ada")
    effects.buy("frozen")
    system.relay()
    frozen = system.worker(release="a", concurrency=1)
    effect_at.delay("frozen", "released")
    wait_until(lambda: system.events.of("start") == ["frozen"], "its start")
    frozen.freeze(tree=True)
    system.worker(release="b", concurrency=2)
    effect.delay("another", 0.01)
    wait_until(lambda: system.events.of("start").count("frozen") == 2, "its start", timeout=40)
    system.events.record("released", "")
    effects.wait_for_end()
    frozen.thaw(tree=True)
    wait_until(lambda: system.events.of("end").count("frozen") == 2, "the end of the thawed body")
    frozen.wait_for_output("job.")
    effects.assert_once({"frozen", "another"})
    assert most_at_once(effects) == 1


def test_a_paused_queue_keeps_its_limit(system: System, effects: Effects) -> None:
    operations.limit("default", limit=2, by="ada")
    operations.pause("default", by="ada", why="")
    system.relay()
    system.worker(concurrency=4)
    for number in range(12):
        effect.delay(f"job {number}", 0.05)
    time_of_pause = time.monotonic()
    wait_until(lambda: time.monotonic() > time_of_pause + 2, "two rounds of the relay")
    assert effects.states == {"waiting": 12}
    operations.resume("default", by="ada")
    wait_until(lambda: running(effects), "a start")
    operations.pause("default", by="ada", why="")
    wait_until(lambda: not running(effects), "the end of what ran")
    assert effects.states.get("waiting")
    operations.resume("default", by="ada")
    effects.wait_for_end()
    effects.assert_once({f"job {number}" for number in range(12)})
    assert most_at_once(effects) == 2
