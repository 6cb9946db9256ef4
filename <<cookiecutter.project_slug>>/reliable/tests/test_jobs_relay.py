"""What a relay promises by itself: how it ends, what it says, what it makes of a clock."""

import threading
import time
from datetime import timedelta

import pytest
from celery import current_app
from django.conf import settings
from django.utils import timezone

from reliable.jobs import enqueue_many, operations, sql
from reliable.jobs.database import Session
from reliable.jobs.ear import Ear
from reliable.jobs.models import Job
from reliable.jobs.relay import Relay
from reliable.testing.effects import Effects
from reliable.testing.jobs import effect, note
from reliable.testing.system import System
from reliable.testing.waiting import wait_until


def test_a_relay_that_is_stopped_sends_what_it_has_marked_and_leaves(
    system: System, effects: Effects
) -> None:
    relay = system.relay()
    system.worker(concurrency=2)
    enqueue_many(effect, [(f"job {number}",) for number in range(3000)])
    effects.wait_for_more("effect", 200, than=0)
    relay.terminate()
    assert relay.wait(timeout=10) == 0
    assert relay.output.count("relay.stopped") == 1
    assert effects.ask("SELECT count(*) FROM reliable_relay") == [(0,)]
    marked = """
        SELECT count(*) FROM reliable_job WHERE state = 'waiting' AND published_at IS NOT NULL
    """
    # Nobody offers them again: each had its message.
    wait_until(lambda: effects.ask(marked) == [(0,)], "the end of what was marked")
    assert effects.states["waiting"] > 0
    system.relay(release="b")
    effects.wait_for_end()
    effects.assert_once({f"job {number}" for number in range(3000)})


def test_a_relay_says_that_the_broker_is_back_only_when_it_has_answered(
    system: System, effects: Effects
) -> None:
    network = system.broker_proxy()
    relay = system.relay()
    network.refuse()
    job = note.delay("a")
    relay.wait_for_output("relay.broker_lost")
    # With every queue paused it has nothing to ask the broker for.
    for queue in settings.QUEUES:
        operations.pause(queue, by="ada", why="")
    _wait_for_rounds(effects, 5)
    assert "relay.broker_back" not in relay.output
    for queue in settings.QUEUES:
        operations.resume(queue, by="ada")
    network.accept()
    relay.wait_for_output("relay.broker_back")
    assert relay.output.count("relay.broker_lost") == 1
    system.worker(concurrency=1)
    assert job.wait(15) == "a"


def _wait_for_rounds(effects: Effects, number: int) -> None:
    """Until the relay has looked around so often."""
    for _ in range(number):
        seen = effects.ask("SELECT seen_at FROM reliable_relay")
        effects.ask("SELECT pg_notify('reliable_jobs', 'a queue of somebody else')")
        wait_until(lambda: effects.ask("SELECT seen_at FROM reliable_relay") != seen, "a round")  # noqa: B023


def test_a_paused_queue_gets_no_messages(system: System, effects: Effects) -> None:
    """Its workers would drop each, and it would be offered again without end."""
    operations.pause("default", by="ada", why="")
    paused, other = note.delay("a"), note.apply_async(("b",), queue="mail")
    system.relay()
    wait_until(lambda: effects.of_job(other.id, "offers") == (1,), "the message of the other queue")
    _wait_for_rounds(effects, 2)
    assert effects.of_job(paused.id, "offers, published_at") == (0, None)
    operations.resume("default", by="ada")
    wait_until(lambda: effects.of_job(paused.id, "offers") == (1,), "its message")


def test_a_job_whose_message_was_lost_before_the_databases_clock_was_set_back_is_offered_again(
    system: System,
) -> None:
    job = note.delay("a")
    Job.objects.update(published_at=timezone.now() + timedelta(hours=1), offers=1)
    system.relay()
    system.worker(concurrency=1)
    assert job.wait(15) == "a"


def test_a_relay_whose_lists_are_full_hears_many_calls_at_once(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it wakes at each commit, for nothing, on the host that serves them."""
    relay = Relay(current_app, ["default", "mail"])
    rests: list[float] = []
    monkeypatch.setattr(relay.ear, "rest", rests.append)

    def hear(*queues: str) -> set[str]:
        for queue in queues:
            relay.session.execute(f"NOTIFY {sql.CHANNEL}, '{queue}'")
        heard: set[str] = set()
        while heard != set(queues):
            heard |= relay.listen(5)
        return heard

    try:
        relay.listen(0)  # begins to listen
        relay.lanes["default"].full_until = time.monotonic() + 60
        hear("default")
        assert rests
        assert max(rests) <= 0.01
        rests.clear()
        hear("mail")
        assert not rests
    finally:
        relay.close()


def test_a_relay_that_rests_is_stopped_at_once(transactional_db: None) -> None:
    ear = Ear(Session())
    threading.Timer(0.1, ear.wake).start()
    began = time.monotonic()
    ear.rest(30)
    assert time.monotonic() - began < 10
    ear.close()
