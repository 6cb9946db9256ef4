"""What durable tasks promise when processes die, freeze or are stopped: real ones, real signals.

`KILLS=200` makes the two with random kills as long as the promise was stated.
"""

import os
import random
import signal
import sys
import time

import pytest

from reliable.jobs import enqueue_many, enqueue_together
from reliable.jobs.models import Attempt
from reliable.jobs.runner import KILL_AFTER
from reliable.testing.effects import Effects, seconds_until
from reliable.testing.jobs import (
    die_before_hooks,
    effect,
    effect_at,
    hang,
    hang_in_c,
    kill_own_process,
    work_until,
)
from reliable.testing.processes import end_all
from reliable.testing.system import System
from reliable.testing.tasks import nap
from reliable.testing.waiting import wait_until

KILLS = int(os.environ.get("KILLS", "0"))


def test_what_a_killed_producer_has_committed_runs_and_nothing_else(
    system: System, effects: Effects, chance: random.Random
) -> None:
    system.relay()
    system.worker()
    seed = str(chance.randrange(2**31))
    producer = system.run("producer", [sys.executable, "-m", "reliable.testing.producer", seed])
    kills = KILLS or 25
    for _ in range(kills):
        [child] = wait_until(producer.children, "the producer's child")
        effects.wait_for_more("purchase")
        time.sleep(chance.uniform(0, 0.02))
        child.kill()
        child.wait()
    producer.end()
    # PostgreSQL may still be at the last commit, of whose job nothing is to be seen yet.
    open_ones = "SELECT 1 FROM pg_locks WHERE relation = 'purchase'::regclass"
    wait_until(lambda: not effects.ask(open_ones), "the end of the last purchase")
    effects.wait_for_end()
    print(f"{kills} kills; {len(effects.purchases)} purchases were committed")
    assert len(effects.purchases) >= kills
    assert not [name for name in effects.purchases if "unwilling" in name]
    effects.assert_once(effects.purchases)
    assert set(effects.states) == {"succeeded"}


def test_what_a_killed_child_held_runs_again_at_once(system: System, effects: Effects) -> None:
    system.relay()
    worker = system.worker(concurrency=2)
    neighbour = work_until.delay("neighbour", "released")
    wait_until(lambda: system.events.of("start") == ["neighbour"], "its start")
    job = effect_at.delay("job", "released")
    wait_until(lambda: "job" in system.events.of("start"), "its start")
    victim = next(event.pid for event in system.events.all() if event.subject == "job")
    killed = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    noticed = effects.noticed(job.id, since=killed)
    wait_until(lambda: system.events.of("start").count("job") == 2, "the second start")
    system.events.record("released", "")
    effects.wait_for_end()
    print(f"a child's loss was noticed after {noticed:.2f} s")
    assert noticed < 2
    assert effects.attempts(job.id) == [("child lost", True)]
    assert effects.attempts(neighbour.id) == []
    effects.assert_once({"job"})
    assert worker.alive


def test_a_job_fetched_behind_a_long_one_runs_elsewhere(system: System, effects: Effects) -> None:
    """Jobs in a row let a worker fetch one more than it has children; then one takes long."""
    for name in ("short", "shorter"):
        effect.delay(name)
    work_until.apply_async(["long", "released"], priority=4)
    behind = effect.apply_async(["behind"], priority=3)
    system.relay()
    wait_until(lambda: system.waiting("default.jobs") == 4, "four messages")
    busy = system.worker(concurrency=1)
    wait_until(lambda: "long" in system.events.of("start"), "the start of the long one")
    wait_until(lambda: system.waiting("default.jobs") == 0, "the fetch of the one behind")
    assert behind.state == "waiting"
    system.worker(concurrency=1, release="b")
    idle_since = time.monotonic()
    wait_until(lambda: behind.state == "succeeded", "its end on the other worker")
    print(f"a job held back ran elsewhere {time.monotonic() - idle_since:.2f} s later")
    assert "long" not in system.events.of("end")
    system.events.record("released", "")
    effects.wait_for_end()
    assert busy.alive
    effects.assert_once({"short", "shorter", "behind"})


def test_plain_tasks_have_their_turn_in_a_flood_of_short_jobs(
    system: System, effects: Effects
) -> None:
    enqueue_many(effect, [(f"job {number}",) for number in range(4000)])
    system.relay()
    system.worker(concurrency=1)
    effects.wait_for_more("effect", 1000, than=0)
    for number in range(20):
        nap.delay(f"plain {number}", 0.0)
    wait_until(
        lambda: sum(name.startswith("plain") for name in system.events.of("end")) == 20,
        "the end of the plain tasks",
    )
    left = effects.states.get("waiting", 0)
    print(f"{left} of 4000 jobs were left when 20 plain tasks had ended")
    assert left > 1000
    effects.wait_for_end()
    effects.assert_once({f"job {number}" for number in range(4000)})


@pytest.mark.chaos
def test_what_a_lost_worker_held_runs_elsewhere_and_a_thawed_one_changes_nothing(
    system: System, effects: Effects
) -> None:
    """One worker is killed and comes back under its name, one freezes with all its children."""
    effects.buy("killed", "frozen")
    system.relay()
    killed = system.worker(release="a", concurrency=1)
    held = effect_at.delay("killed", "released")
    wait_until(lambda: system.events.of("start") == ["killed"], "the first start")
    orphan = killed.children()[0]
    frozen = system.worker(release="b", concurrency=1)
    kept = effect_at.delay("frozen", "released")
    wait_until(lambda: len(system.events.of("start")) == 2, "the second start")
    healthy = system.worker(release="c", concurrency=3)
    colleague = work_until.delay("colleague", "released")
    wait_until(lambda: len(system.events.of("start")) == 3, "the third start")

    frozen.freeze(tree=True)
    lost_at = time.monotonic()
    killed.kill()
    # An orphan may finish what it holds; this one is lost with its worker, as on a dead host.
    end_all([orphan])
    killed.wait()
    killed.start()
    noticed = {job.id: effects.noticed(job.id, since=lost_at) for job in (held, kept)}
    print(f"losses were noticed after {noticed[held.id]:.1f} s and {noticed[kept.id]:.1f} s")
    # They lock the same purchases: nobody waits for the locks of the dead and the frozen.
    started = seconds_until(
        lambda: sorted(system.events.of("start")[3:]) == ["frozen", "killed"],
        "their second starts",
        since=lost_at,
    )
    killed.wait_for_output(" ready.", count=2)
    system.events.record("released", "")
    effects.wait_for_end()
    effects.assert_once({"killed", "frozen"})
    ran_by = effects.of_job(kept.id, "claim_no, state, worker")
    ends = system.events.of("end").count("frozen")

    frozen.thaw(tree=True)
    wait_until(lambda: system.events.of("end").count("frozen") > ends, "the end of the thawed body")
    frozen.wait_for_output("job.")
    frozen.terminate()
    frozen.wait()
    effects.assert_once({"killed", "frozen"})
    assert effects.of_job(kept.id, "claim_no, state, worker") == ran_by
    assert max(noticed.values()) < 20
    assert started < max(noticed.values()) + 1
    assert effects.attempts(held.id) == [("worker lost", True)]
    assert effects.attempts(kept.id) == [("worker lost", True)]
    assert effects.attempts(colleague.id) == []
    assert healthy.alive


@pytest.mark.chaos
def test_behind_a_pooler_the_fence_alone_refuses_what_a_thawed_worker_did(
    system: System, effects: Effects
) -> None:
    """Whose sessions are whose is not known there, so that none was ended."""
    system.environment["DATABASE_POOLED"] = "True"
    system.relay()
    frozen = system.worker(release="a", concurrency=1)
    job = effect_at.delay("frozen", "released")
    wait_until(lambda: system.events.of("start") == ["frozen"], "its start")
    frozen.freeze(tree=True)
    system.worker(release="b", concurrency=1)
    wait_until(lambda: len(system.events.of("start")) == 2, "its second start", timeout=40)
    system.events.record("released", "")
    effects.wait_for_end()
    ran = effects.of_job(job.id, "claim_no, state, finished_at")
    frozen.thaw(tree=True)
    wait_until(lambda: len(system.events.of("end")) == 2, "the end of the thawed body")
    frozen.wait_for_output("job.claim_lost")
    effects.assert_once({"frozen"})
    assert effects.of_job(job.id, "claim_no, state, finished_at") == ran


@pytest.mark.chaos
def test_nothing_is_lost_or_done_twice_while_processes_are_killed_at_random(
    system: System, effects: Effects, chance: random.Random
) -> None:
    kills = KILLS or 6
    workers = {system.worker(release=release): 1 for release in ("a", "b")}
    relays = [system.relay(release=release) for release in ("a", "b")]
    names: set[str] = set()
    victims = ["child", "worker", "relay", "child"] * (kills // 4 + 1)
    chance.shuffle(victims)
    for victim in victims[:kills]:
        # Enough for each kill to come in mid-work, however fast the last ones were done.
        done = effects.count()
        more = [f"job {len(names) + number}" for number in range(60)]
        names.update(more)
        with enqueue_together():
            for name in more:
                effect.delay(name, chance.uniform(0.001, 0.04))
        effects.wait_for_more("effect", 20, than=done)
        print(f"kills a {victim} after {len(effects.names)} jobs")
        if victim == "relay":
            relay = chance.choice(relays)
            relay.kill()
            relay.wait()
            relay.start()
            continue
        worker = chance.choice(list(workers))
        if victim == "child":
            chance.choice(wait_until(worker.children, "a child")).kill()
            continue
        worker.kill()
        worker.wait()
        worker.start()
        workers[worker] += 1
        worker.wait_for_output(" ready.", count=workers[worker])
    effects.wait_for_end(timeout=60 + kills)
    print(f"{kills} kills, {len(names)} jobs")
    effects.assert_once(names)
    assert effects.states == {"succeeded": len(names)}


def test_a_kill_before_the_hooks_loses_them_and_not_a_nested_job(
    system: System, effects: Effects
) -> None:
    system.relay()
    system.worker(concurrency=1)
    job = die_before_hooks.delay("killed")
    effects.wait_for_end()
    effects.assert_once({"killed"})
    assert effects.of_job(job.id, "state, attempt") == ("succeeded", 0)
    assert system.events.of("hook") == []
    assert system.events.of("note") == ["killed"]


def test_stops_are_not_charged(system: System, effects: Effects) -> None:
    """Five TERMs let the job end; QUIT ends the worker at once, and the job runs elsewhere."""
    system.relay()
    patient = system.worker(release="a", concurrency=1)
    patient_job = effect_at.delay("patient", "released")
    wait_until(lambda: system.events.of("start") == ["patient"], "its start")
    hasty = system.worker(release="b", concurrency=1)
    hasty_job = effect_at.delay("hasty", "released")
    wait_until(lambda: len(system.events.of("start")) == 2, "its start")
    for times in range(1, 6):
        patient.terminate()
        patient.wait_for_output("Warm shutdown", count=times)
    os.kill(hasty.pid, signal.SIGQUIT)
    noticed = effects.noticed(hasty_job.id, since=time.monotonic())
    hasty.wait()
    system.worker(release="c", concurrency=1)
    wait_until(lambda: system.events.of("start").count("hasty") == 2, "the second start")
    system.events.record("released", "")
    assert patient.wait() == 0
    effects.wait_for_end()
    print(f"a job whose worker got QUIT waited again after {noticed:.1f} s")
    effects.assert_once({"patient", "hasty"})
    assert effects.attempts(patient_job.id) == []
    assert effects.attempts(hasty_job.id) == [("shut down", False)]
    assert effects.of_job(hasty_job.id, "attempt, state") == (0, "succeeded")


def test_poison_is_parked_and_nobody_else_is_charged(system: System, effects: Effects) -> None:
    system.relay()
    worker = system.worker(concurrency=4)
    neighbour = work_until.delay("neighbour", "released")
    wait_until(lambda: system.events.of("start") == ["neighbour"], "its start")
    poison = {
        kill_own_process.delay("kills its child").id: "child lost",
        hang.delay("hangs").id: "timed out",
        (deaf := hang_in_c.delay("hangs in C").id): "timed out",
    }
    wait_until(lambda: effects.states.get("failed") == 3, "their end", timeout=40)
    system.events.record("released", "")
    effects.wait_for_end()
    assert {job: effects.attempts(job) for job in poison} == {
        job: [(outcome, True)] * 2 for job, outcome in poison.items()
    }
    assert effects.attempts(neighbour.id) == []
    # By its worker: if a relay had taken it away, its process would still hang.
    killed = f"It was killed {hang_in_c.time_limit + KILL_AFTER} s after its start."
    errors = Attempt.objects.filter(job_id=deaf).values_list("error", flat=True)
    assert list(errors) == [killed] * 2
    effects.assert_once(set())
    assert system.events.of("end") == ["neighbour"]
    # on_failed, from the child that failed and from the parent of one that died.
    assert sorted(system.events.of("note")) == sorted(map(str, poison))
    assert worker.alive
