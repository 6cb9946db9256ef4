"""Jobs of a task that share a transaction: what they share, and what stays each one's own.

`KILLS=200` makes the one with random kills as long as the promise was stated.
"""

import json
import os
import random
import uuid
from collections import Counter
from typing import Any

import pytest
from celery import current_app
from django.db import connection
from structlog.contextvars import bound_contextvars

from reliable.jobs import JobHandle, enqueue_many, enqueue_together
from reliable.jobs.broker import Broker, Offer
from reliable.jobs.parcels import parcels
from reliable.jobs.relay import LEAST_WINDOW, Lane
from reliable.testing.batched import batched, batched_count, batched_effect, batched_patiently
from reliable.testing.effects import Effects
from reliable.testing.jobs import effect, note
from reliable.testing.processes import end_all
from reliable.testing.system import System
from reliable.testing.waiting import wait_until

KILLS = int(os.environ.get("KILLS", "0"))

GOOD = [f"good {number}" for number in range(20)]

PUBLISHED = "SELECT count(*) FROM reliable_job WHERE published_at IS NOT NULL"


def enqueue(*others: tuple[str, str], task: Any = batched) -> dict[str, JobHandle]:
    """Others amid good ones, in one statement; by name."""
    calls = [*[(name,) for name in GOOD[:2]], *others, *[(name,) for name in GOOD[2:]]]
    return {call[0]: job for call, job in zip(calls, enqueue_many(task, calls), strict=True)}


def largest(effects: Effects) -> int:
    """How many jobs the largest batch has committed."""
    [(most,)] = effects.ask("""
        SELECT max(count) FROM (
            SELECT count(*) FROM reliable_job WHERE state = 'succeeded' GROUP BY xmin::text
        ) AS batch
    """)
    return int(most)


def messages() -> int:
    """Of jobs of the queue `default`, in the broker."""
    broker = Broker(current_app)
    try:
        return broker.length("default")
    finally:
        broker.close()


# --- What one does, and what it does to the others -----------------------------------------------

# What a member does, and how its attempts end: only one that ran alone is charged with a death.
POISON = {
    "raises": [("failed", True)] * 2,
    "hangs": [("timed out", True)] * 2,
    "hangs in PostgreSQL": [("timed out", True)] * 2,
    "rolls back": [("failed", True)] * 2,
    "swallows an error": [("failed", True)] * 2,
    "leaves a block open": [("failed", True)] * 2,
    "kills": [("child lost", False), ("child lost", True), ("child lost", True)],
    "hangs in C": [("child lost", False), ("timed out", True), ("timed out", True)],
    "meets a deadlock": [("rolled back", False), ("failed", True), ("failed", True)],
    "breaks the commit": [("rolled back", False), ("failed", True), ("failed", True)],
    "ends the session": [("rolled back", False), ("failed", True), ("failed", True)],
}


@pytest.mark.parametrize("does", POISON)
def test_of_a_batch_with_a_poisonous_member_only_that_fails(
    system: System, effects: Effects, does: str
) -> None:
    effects.ask("CREATE TABLE promise (of text REFERENCES purchase DEFERRABLE INITIALLY DEFERRED)")
    worker = system.worker(concurrency=1)
    jobs = enqueue(("poison", does))
    system.relay()
    effects.wait_for_end()
    assert effects.states == {"succeeded": len(GOOD), "failed": 1}
    effects.assert_once(set(GOOD))
    assert system.events.of("hook") == []
    assert effects.attempts(jobs["poison"].id) == POISON[does]
    assert effects.ask("SELECT count(*) FROM reliable_job WHERE attempt > 0") == [(1,)]
    alone = effects.ask(
        "SELECT bool_and(solo) FROM reliable_job JOIN reliable_attempt"
        " ON job_id = reliable_job.id WHERE NOT counted"
    )
    assert alone in ([(True,)], [(None,)])
    assert worker.alive


@pytest.mark.chaos
def test_what_takes_its_worker_along_in_a_batch_is_charged_only_when_it_runs_alone(
    system: System, effects: Effects
) -> None:
    worker = system.worker(concurrency=1)
    jobs = enqueue(("poison", "kills its worker"))
    relay = system.relay()
    for deaths in range(1, 4):
        worker.wait(timeout=90)
        worker.start()
        worker.wait_for_output(" ready.", count=deaths + 1)
    effects.wait_for_end(timeout=90)
    assert effects.states == {"succeeded": len(GOOD), "failed": 1}
    effects.assert_once(set(GOOD))
    assert effects.attempts(jobs["poison"].id) == [
        ("worker lost", False),
        ("worker lost", True),
        ("worker lost", True),
    ]
    assert effects.ask("SELECT count(*) FROM reliable_job WHERE attempt > 0") == [(1,)]
    assert relay.alive


def test_each_member_ends_in_its_own_way(system: System, effects: Effects) -> None:
    worker = system.worker(concurrency=1)
    jobs = enqueue(
        ("one", "has a hook that raises"),
        ("two", "has hooks"),
        ("three", "snoozes"),
        ("four", "discards"),
        ("five", "hangs in PostgreSQL"),
    )
    system.relay()
    effects.wait_for_end()
    assert effects.states == {"succeeded": len(GOOD) + 5, "cancelled": 1, "failed": 1}
    # Each returned its name.
    own = "result IS NOT DISTINCT FROM CASE WHEN state = 'succeeded' THEN args -> 0 END"
    assert effects.ask(f"SELECT count(*) FROM reliable_job WHERE NOT ({own})") == [(0,)]  # noqa: S608
    # The hook enqueued the same call as the body: that is another job.
    assert Counter(effects.names) == {
        **dict.fromkeys([*GOOD, "one", "two", "three"], 1),
        "two's child": 2,
    }
    assert system.events.of("hook") == ["one", f"two {jobs['two'].id}"]
    assert system.events.of("later hook") == []
    assert system.events.of("woke") == ["three"]
    assert effects.attempts(jobs["three"].id) == [("snoozed", False)]
    assert worker.output.count("job.hook_failed") == 1
    assert effects.attempts(jobs["one"].id) == []
    assert largest(effects) > 1


def test_one_line_says_of_each_member_what_a_line_of_its_own_would(
    system: System, effects: Effects
) -> None:
    worker = system.worker(concurrency=1)
    with enqueue_together():
        with bound_contextvars(request_id="from-the-web"):
            jobs = [batched.delay("asked for")]
        jobs += [batched.delay(f"job {number}") for number in range(200)]
        failing = batched.delay("poison", "raises")
    system.relay()
    effects.wait_for_end()
    worker.terminate()  # so that it has said all
    worker.wait()
    lines = [
        json.loads(each) for each in worker.output.splitlines() if "job.batch_succeeded" in each
    ]
    assert {(line["task"], line["queue"]) for line in lines} == {(batched.name, "default")}
    said = {each["job_id"]: each for line in lines for each in line["jobs"]}
    assert said.keys() == {str(job.id) for job in jobs}
    # More than one line has room for.
    assert largest(effects) > max(len(line["jobs"]) for line in lines)
    assert said[str(jobs[0].id)]["request_id"] == "from-the-web"
    assert all(each["attempt"] == 1 and each["duration_ms"] >= 0 for each in said.values())
    assert str(failing.id) not in said
    assert len(lines) < len(jobs)
    assert "job.succeeded" not in worker.output


def test_a_member_that_is_cancelled_has_no_effect_and_the_others_run_alone(
    system: System, effects: Effects
) -> None:
    system.worker(concurrency=1)
    jobs = enqueue(("unwanted", "waits"), task=batched_patiently)
    system.relay()
    wait_until(lambda: system.events.of("waits"), "its start")
    assert jobs["unwanted"].cancel()
    system.events.record("released", "")
    effects.wait_for_end()
    assert effects.states == {"succeeded": len(GOOD), "cancelled": 1}
    effects.assert_once(set(GOOD))
    assert effects.attempts(jobs[GOOD[0]].id) == [("rolled back", False)]
    assert effects.of_job(jobs[GOOD[0]].id, "solo, attempt") == (True, 0)
    assert jobs["unwanted"].retry()
    assert effects.of_job(jobs["unwanted"].id, "solo") == (False,)


def test_a_member_that_somebody_took_away_rolls_the_batch_back(
    system: System, effects: Effects
) -> None:
    """Fewer rows of the finish than bodies that succeeded: a fence that has moved on."""
    system.worker(concurrency=1)
    jobs = enqueue(("taken", "waits"), task=batched_patiently)
    system.relay()
    wait_until(lambda: system.events.of("waits"), "its start")
    # As another worker's claim after the reaper's; this one's parent soon finds it an orphan.
    effects.ask(
        f"UPDATE reliable_job SET claim_no = claim_no + 1 WHERE id = '{jobs['taken'].id}'"  # noqa: S608
    )
    system.events.record("released", "")
    effects.wait_for_end()
    assert effects.states == {"succeeded": len(GOOD) + 1}
    effects.assert_once({*GOOD, "taken"})
    assert effects.attempts(jobs[GOOD[0]].id) == [("rolled back", False)]


def test_a_unique_job_of_a_batch_lets_the_next_one_in_when_it_starts(
    system: System, effects: Effects
) -> None:
    with enqueue_together():
        jobs = [batched_count.delay(which) for which in ("a", "b", "a")]
    assert jobs[0].id == jobs[2].id
    system.worker(concurrency=1)
    system.relay()
    effects.wait_for_end()
    assert batched_count.delay("a").id != jobs[0].id
    effects.wait_for_end()
    assert sorted(system.events.of("start")) == ["a", "a", "b"]


# --- What travels together -----------------------------------------------------------------------


def offer(name: str, *, alone: bool = False, priority: int = 5) -> Offer:
    return Offer(uuid.uuid4(), name, "default", priority, 60, "{}", None, alone)


def test_only_jobs_of_a_task_with_batch_travel_together_and_none_that_is_to_run_alone() -> None:
    many = [offer(batched.name) for _ in range(70)]
    others = [
        offer(note.name),
        offer(batched.name, alone=True),
        offer(batched.name, priority=9),
        offer("a task of another release"),
        offer("a task of another release"),
    ]
    found = parcels([*many, *others], slots=1)
    assert sorted(map(len, found)) == [1, 1, 1, 1, 1, 20, 50]
    assert [each for parcel in found if len(parcel) > 1 for each in parcel] == many


def test_few_jobs_are_spread_over_the_slots_and_do_not_wait_for_company() -> None:
    few = [offer(batched.name) for _ in range(6)]
    assert list(map(len, parcels(few[:1], slots=4))) == [1]
    assert list(map(len, parcels(few[:4], slots=4))) == [1, 1, 1, 1]
    assert list(map(len, parcels(few, slots=4))) == [2, 2, 2]


def test_the_window_counts_messages_however_many_jobs_they_name() -> None:
    lane = Lane("default", slots=2)
    assert lane.jobs(8) == 8
    lane.density = 50
    assert lane.jobs(8) == 400
    assert lane.jobs(1000) == 500


def test_a_burst_after_a_silence_is_looked_at_before_its_list_can_run_dry() -> None:
    """A job a second was claimed until then; that says nothing of how fast the burst is."""
    lane = Lane("default", slots=2)
    for second in range(1, 60):
        lane.length = 1
        lane.saw(0, float(second))
    lane.length = lane.window
    assert lane.pause() <= 0.02
    # Nothing of it is claimed: nobody is there, or the jobs are long.
    for second in range(60, 70):
        lane.saw(lane.length, float(second))
        pause = lane.pause()
    assert pause == 0.25
    lane.saw(0, 70.0)
    lane.length = lane.window
    assert lane.pause() <= 0.02


def test_a_backlog_costs_the_broker_few_messages(system: System, effects: Effects) -> None:
    enqueue_many(batched_effect, [(f"job {number}",) for number in range(5000)])
    worker = system.worker(concurrency=1)
    worker.freeze(tree=True)
    relay = system.relay()
    wait_until(lambda: messages() >= LEAST_WINDOW, "messages")
    published = effects.ask(PUBLISHED)
    assert messages() == LEAST_WINDOW
    # One more had been asked for before the freeze.
    assert published[0][0] <= (LEAST_WINDOW + 1) * 50
    worker.thaw(tree=True)
    effects.wait_for_end()
    effects.assert_once({f"job {number}" for number in range(5000)})
    assert largest(effects) == 50
    assert relay.alive


def test_a_job_without_company_starts_as_soon_as_one_that_is_not_batched(
    system: System, effects: Effects
) -> None:
    system.relay()
    system.worker(concurrency=1)
    for number in range(30):
        task = batched_effect if number % 2 else effect
        task.delay(f"job {number}")
        effects.wait_for_end()
    seconds = dict(
        effects.ask("""
            SELECT task, percentile_cont(0.5) WITHIN GROUP (
                ORDER BY extract(epoch FROM started_at - created_at)
            ) FROM reliable_job GROUP BY task
        """)
    )
    print({task: f"{each * 1000:.1f} ms" for task, each in seconds.items()})
    assert seconds[batched_effect.name] < 2 * seconds[effect.name] + 0.05


def test_a_queue_with_a_limit_is_not_batched(system: System, effects: Effects) -> None:
    effects.ask("""INSERT INTO reliable_queue (name, "limit") VALUES ('default', 10)""")
    enqueue()
    system.relay()
    wait_until(lambda: messages() == LEAST_WINDOW, "messages")
    # One job a message, so that as many slots as the limit allows can take them.
    assert effects.ask(PUBLISHED) == [(LEAST_WINDOW,)]
    system.worker(concurrency=1)
    effects.wait_for_end()
    effects.assert_once(set(GOOD))
    assert largest(effects) == 1


def test_a_message_of_many_strands_no_job_that_is_to_run_alone(
    system: System, effects: Effects
) -> None:
    """They became so after it had been sent."""
    worker = system.worker(concurrency=1)
    worker.freeze(tree=True)
    jobs = enqueue()
    system.relay()
    wait_until(lambda: effects.ask(PUBLISHED) == [(len(GOOD),)], "messages")
    wait_until(lambda: messages() >= 2, "messages")
    effects.ask("UPDATE reliable_job SET solo = true WHERE published_at IS NOT NULL")
    worker.thaw(tree=True)
    effects.wait_for_end()
    effects.assert_once(set(GOOD))
    # The first message's, while others stood in the list: nobody offered it again.
    assert effects.of_job(jobs[GOOD[0]].id, "solo, state, offers") == (True, "succeeded", 1)


# --- The faults of the durable tasks, with batches -----------------------------------------------


@pytest.mark.chaos
@pytest.mark.own_servers
def test_nothing_is_lost_or_done_twice_while_batches_are_cut_off_at_random(
    system: System, effects: Effects, chance: random.Random
) -> None:
    kills = KILLS or 8
    workers = {system.worker(release=release): 1 for release in ("a", "b")}
    relays = [system.relay(release=release) for release in ("a", "b")]
    names: set[str] = set()
    victims = ["child", "broker", "worker", "postgresql", "relay", "child"] * (kills // 6 + 1)
    chance.shuffle(victims)
    for victim in victims[:kills]:
        # Enough for each kill to come in mid-work, however fast the last ones were done.
        done = effects.count()
        more = [f"job {len(names) + number}" for number in range(300)]
        names.update(more)
        enqueue_many(batched_effect, [(name, chance.uniform(0.001, 0.02)) for name in more])
        effects.wait_for_more("effect", 50, than=done)
        print(f"kills a {victim} after {effects.count()} jobs")
        if victim == "relay":
            relay = chance.choice(relays)
            relay.kill()
            relay.wait()
            relay.start()
        elif victim == "child":
            worker = chance.choice(list(workers))
            chance.choice(wait_until(worker.children, "a child")).kill()
        elif victim == "worker":
            worker = chance.choice(list(workers))
            worker.kill()
            worker.wait()
            worker.start()
            workers[worker] += 1
            worker.wait_for_output(" ready.", count=workers[worker])
        else:
            restart(system, victim)
    effects.wait_for_end(timeout=90 + kills)
    print(f"{kills} kills, {len(names)} jobs")
    effects.assert_once(names)
    assert effects.states == {"succeeded": len(names)}
    assert effects.ask("SELECT count(*) FROM reliable_attempt WHERE NOT counted") != [(0,)]
    assert largest(effects) > 1


def restart(system: System, victim: str) -> None:
    """Kill a server with its children, as the end of its host would, and start it again."""
    server = system.servers.processes[victim]
    children = server.children()
    server.kill()
    end_all(children)  # some end by themselves when they find it dead
    server.wait()
    server.start()
    system.servers.wait_for(victim)
    connection.close()  # this process's: it broke as well
