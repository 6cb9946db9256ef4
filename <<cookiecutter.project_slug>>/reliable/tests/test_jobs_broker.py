"""What durable tasks promise when the broker dies, forgets, freezes, fills up or lies.

`AWAY=30` keeps it away for so many seconds; `JOBS=1000000` is how many wait without a worker.
"""

import functools
import os
import random
import shutil
import time
import uuid
from typing import Any

import psutil
import pytest
from django.db import connection, transaction

from reliable.jobs import JobHandle
from reliable.jobs.relay import LEAST_WINDOW
from reliable.testing.effects import Effects, seconds_until
from reliable.testing.jobs import count_purchases, effect, note, work_until
from reliable.testing.processes import Process
from reliable.testing.system import System
from reliable.testing.waiting import let_pass, wait_until

AWAY = float(os.environ.get("AWAY", "0"))
JOBS = int(os.environ.get("JOBS", "50000"))


class _Faults:
    """What is done to the broker, when that is noticed, and how it comes back."""

    def __init__(self, system: System, relay: Process) -> None:
        self.servers = system.servers
        self.relay = relay
        self.process = system.servers.processes["broker"]
        self.lost = 0

    def nothing(self) -> None:
        """Nobody notices, and nothing is to be undone."""

    def relay_says_so(self) -> None:
        self.lost += 1
        self.relay.wait_for_output("relay.broker_lost", count=self.lost)

    def kill_without_persistence(self) -> None:
        with self.servers.broker.client() as client:
            client.config_set("appendonly", "no")
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.servers.broker.data / "appendonlydir")

    def start(self) -> None:
        self.process.start()
        self.servers.wait_for("broker")

    def flush(self) -> None:
        with self.servers.broker.client() as client:
            client.flushall()

    def freeze(self) -> None:
        self.process.freeze()

    def thaw(self) -> None:
        self.process.thaw()

    def fill(self) -> None:
        with self.servers.broker.client() as client:
            client.config_resetstat()
            client.config_set("maxmemory", "1")

    def refuses_again_and_again(self) -> None:
        self.relay_says_so()
        wait_until(
            lambda: self._refusals() >= 100, "several refusals", timeout=30, saw=self._refusals
        )

    def empty(self) -> None:
        with self.servers.broker.client() as client:
            client.config_set("maxmemory", "0")

    def _refusals(self) -> int:
        with self.servers.broker.client() as client:
            statistics: dict[str, Any] = client.info("errorstats")
        return int(statistics.get("errorstat_OOM", {}).get("count", 0))


@pytest.mark.chaos
@pytest.mark.own_servers
def test_nothing_is_lost_whatever_happens_to_the_broker(system: System, effects: Effects) -> None:
    relay = system.relay()
    for release in ("a", "b"):
        system.worker(release=release, concurrency=2)
    faults = _Faults(system, relay)
    names: set[str] = set()
    long: dict[str, JobHandle] = {}

    def started(name: str) -> bool:
        return name in system.events.of("start")

    def enqueue(when: str, count: int) -> float:
        """Enqueue jobs of 10 ms; return the seconds of the slowest call."""
        slowest = 0.0
        for name in [f"{when} {number}" for number in range(count)]:
            began = time.monotonic()
            effect.delay(name, 0.01)
            slowest = max(slowest, time.monotonic() - began)
            names.add(name)
        return slowest

    happens = {
        "is killed": (faults.kill_without_persistence, faults.relay_says_so, faults.start),
        "is flushed": (faults.flush, faults.nothing, faults.nothing),
        "is frozen": (faults.freeze, faults.relay_says_so, faults.thaw),
        "is full": (faults.fill, faults.refuses_again_and_again, faults.empty),
    }
    for what, (harm, notice, heal) in happens.items():
        during = f"long, while it {what}"
        long[during] = work_until.delay(during, f"it {what} no more")
        wait_until(functools.partial(started, during), "the start of the long job")
        done = effects.count()
        enqueue(f"before it {what}", 150)
        effects.wait_for_more("effect", 10, than=done)
        harm()
        gone = time.monotonic()
        slowest = enqueue(f"while it {what}", 30)
        notice()
        if notice != faults.nothing:
            let_pass(AWAY, since=gone)
        heal()
        back = time.monotonic()
        done = min(effects.count(), len(names) - 1)  # all may be done by now
        moving = seconds_until(functools.partial(effects.more_than, done), "progress", since=back)
        wait_until(
            lambda: effects.states.get("succeeded") == len(names) + len(long) - 1,
            "the end",
            timeout=60,
        )
        ended = time.monotonic() - back
        system.events.record(f"it {what} no more", "")
        print(
            f"the broker {what}: the slowest call took {slowest * 1000:.0f} ms; after it was back"
            f" the first job ended within {moving:.1f} s, the last within {ended:.1f} s"
        )
        effects.assert_once(names)
        assert slowest < 1
        assert ended < 30
    relay.wait_for_output("relay.broker_back", count=faults.lost)
    effects.wait_for_end()
    # Their workers lost the broker, and they went on.
    assert [effects.attempts(job.id) for job in long.values()] == [[]] * len(long)
    assert system.events.of("end") == list(long)
    assert effects.states == {"succeeded": len(names) + len(long)}
    # A refused message is no offer: many would let a job wait for an hour when one is lost.
    [(most,)] = effects.ask("SELECT max(offers) FROM reliable_job")
    assert most <= 4


def _messages(system: System) -> dict[str, list[bytes]]:
    """The messages for jobs, by list: one for each step of priority."""
    with system.servers.broker.client(system.broker_database) as client:
        lists = sorted(key.decode() for key in client.keys("default.jobs*"))
        return {name: list(client.lrange(name, 0, -1)) for name in lists}


def _waiting(system: System) -> int:
    return sum(map(len, _messages(system).values()))


def test_a_message_can_start_a_due_job_once_and_nothing_else(
    system: System, effects: Effects, chance: random.Random
) -> None:
    """Messages are copied, reordered and forged for jobs that are not due, ended or unknown."""
    relay = system.relay()
    worker = system.worker()
    finished = effect.delay("finished")
    future = effect.apply_async(("future",), countdown=3600)
    cancelled = effect.apply_async(("cancelled",), countdown=3600)
    cancelled.cancel()
    effects.wait_for_more("effect", than=0)
    worker.terminate()
    worker.wait()
    due = [effect.delay(f"due {number}").id for number in range(3)]
    wait_until(lambda: _waiting(system) == 3, "their messages")
    relay.kill()
    relay.wait()
    [(name, real)] = _messages(system).items()
    last = str(due[-1]).encode()  # the list's head
    forged = [
        real[0].replace(last, str(job).encode())
        for job in (finished.id, future.id, cancelled.id, uuid.uuid4())
    ]
    assert real[0] not in forged
    messages = [*real * 5, *forged * 3]
    chance.shuffle(messages)
    with system.servers.broker.client(system.broker_database) as client:
        client.delete(name)
        client.rpush(name, *messages)
    system.worker(release="b")
    wait_until(lambda: _waiting(system) == 0, "the last message")
    wait_until(lambda: effects.count() == 4, "the due jobs")
    # What comes after them finds the worker well.
    after = note.delay("after")
    system.relay(release="b")
    after.wait(15)
    effects.assert_once({"finished", "due 0", "due 1", "due 2"})
    claims = "SELECT state, claim_no, count(*) FROM reliable_job GROUP BY 1, 2 ORDER BY 1, 2"
    assert effects.ask(claims) == [("cancelled", 0, 1), ("succeeded", 1, 5), ("waiting", 0, 1)]


def test_the_run_after_a_conflict_sees_what_the_later_caller_wrote(
    system: System, effects: Effects
) -> None:
    relay = system.relay()
    first = count_purchases.delay("all")
    wait_until(lambda: _waiting(system) == 1, "its message")
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO purchase (name) VALUES ('later')")
        again = count_purchases.delay("all")
        # The worker takes the message of the first call, while the second has not committed.
        system.worker()
        # What its session says next, and nobody else's does.
        tried = (
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%WITH refused%' AND state = 'idle'"
        )
        wait_until(lambda: effects.ask(tried), "the refused claim")
        assert system.events.of("start") == []
    assert (again.id, again.created) == (first.id, False)
    assert first.wait(15) == 1
    assert relay.alive
    # It has begun: what comes now is another job.
    assert count_purchases.delay("all").created
    effects.wait_for_end()
    assert system.events.of("start") == ["all", "all"]


def test_a_mountain_of_jobs_costs_the_broker_a_few_messages(
    system: System, effects: Effects
) -> None:
    """Of now and of tomorrow, two relays, no worker, and hours that pass."""
    relays = [system.relay(release=release) for release in ("a", "b")]
    model = effect.apply_async(("model",), countdown=86400)
    with system.servers.broker.client() as client:
        before = int(client.info("memory")["used_memory"])
    copy = """
        INSERT INTO reliable_job (id, task, queue, args, run_at, max_attempts, time_limit)
        SELECT gen_random_uuid(), task, queue, args, now() + interval '{}', 5, 60
        FROM reliable_job, generate_series(1, {}) WHERE id = '{}'
    """
    effects.ask(copy.format("1 day", max(20_000, JOBS // 10), model.id))
    effects.ask(copy.format("-1 second", JOBS, model.id))
    most = 0
    for _ in range(4):
        effects.ask("SELECT pg_notify('reliable_jobs', 'default')")
        # As if hours had passed without a worker.
        effects.ask(
            "UPDATE reliable_job SET published_at = published_at - interval '3 hours'"
            " WHERE published_at IS NOT NULL"
        )
        _wait_for_looks(system, 64)
        most = max(most, _waiting(system))
    with system.servers.broker.client() as client:
        grown = int(client.info("memory")["used_memory"]) - before
    rss = [_memory(relay) for relay in relays]
    print(f"at most {most} messages; Redis grew by {grown / 1024:.0f} KiB, relays: {rss} MiB")
    assert 1 <= most <= LEAST_WINDOW * len(relays)
    assert grown < 1024 * 1024
    assert max(rss) < 150


def _wait_for_looks(system: System, count: int) -> None:
    """Wait until the relays have asked so often for the length of a list."""

    def looks() -> int:
        with system.servers.broker.client() as client:
            return int(client.info("commandstats")["cmdstat_llen"]["calls"])

    before = looks()
    wait_until(lambda: looks() >= before + count, "several looks of the relays")


def _memory(process: Process) -> int:
    """MiB."""
    return int(psutil.Process(process.pid).memory_info().rss / 1024 / 1024)
