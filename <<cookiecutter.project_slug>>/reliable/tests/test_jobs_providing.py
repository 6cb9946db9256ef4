"""What the operations page and metrics get to know of jobs, and what they may do."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from reliable.jobs.models import Job, Relay
from reliable.jobs.providing import JobsProvider
from reliable.jobs.states import State
from reliable.testing.system import System
from reliable.testing.waiting import wait_until


def _job(state: State, task: str = "orders.tasks.ship", **fields: Any) -> Job:
    if state in {State.FAILED, State.SUCCEEDED}:
        fields.setdefault("finished_at", Now())
    fields = {"queue": "mail", **fields}
    return Job.objects.create(id=uuid.uuid4(), task=task, state=state, **fields)


@pytest.mark.django_db
def test_queues_are_counted_by_what_their_jobs_do() -> None:
    assert JobsProvider().queues() == {}
    _job(State.WAITING, run_at=Now() - timedelta(seconds=40))
    _job(State.WAITING, run_at=Now() - timedelta(seconds=20), published_at=Now())
    _job(State.WAITING, run_at=Now() + timedelta(hours=1))
    _job(State.RUNNING, worker=uuid.uuid4(), deadline_at=Now())
    _job(State.FAILED, finished_at=Now() - timedelta(hours=1))
    _job(State.SUCCEEDED)
    _job(State.SUCCEEDED, queue="slow")
    found = JobsProvider().queues()
    mail = found["mail"]
    assert (mail.waiting, mail.scheduled, mail.running, mail.failed) == (2, 1, 1, 1)
    assert mail.finished == 1
    assert mail.oldest == pytest.approx(40, abs=5)
    assert (found["slow"].waiting, found["slow"].oldest, found["slow"].finished) == (0, None, 1)


@pytest.mark.django_db
def test_dead_letters_are_grouped_by_task_and_exception_and_changed_by_group() -> None:
    for _ in range(3):
        _job(State.FAILED, exception="Timeout", place="orders.post.send")
    other = _job(State.FAILED, exception="ValueError")
    _job(State.FAILED, task="orders.tasks.charge", exception="Timeout")
    source = JobsProvider()
    groups = {(each.task, each.error): each for each in source.failed()}
    assert {name: each.count for name, each in groups.items()} == {
        ("orders.tasks.ship", "Timeout orders.post.send"): 3,
        ("orders.tasks.ship", "ValueError"): 1,
        ("orders.tasks.charge", "Timeout"): 1,
    }
    unwanted = groups["orders.tasks.ship", "ValueError"]
    assert unwanted.example == str(other.pk)
    assert source.retry(groups["orders.tasks.ship", "Timeout orders.post.send"].key, by="ops") == 3
    assert Job.objects.filter(state=State.WAITING).count() == 3
    assert source.discard(unwanted.key, by="ops") == 1
    other.refresh_from_db()
    assert other.state == State.CANCELLED
    assert "by ops" in other.error
    assert [each.task for each in source.failed()] == ["orders.tasks.charge"]


def test_a_relay_is_known_until_it_leaves_and_a_dead_one_until_it_is_replaced(
    system: System,
) -> None:
    relay = system.relay()
    wait_until(JobsProvider().relays, "the relay to say that it publishes")
    [seen] = JobsProvider().relays()
    assert seen.name.endswith(f":{relay.pid}")
    assert seen.release == "a"
    relay.kill()
    relay.wait()
    assert Relay.objects.count() == 1
    second = system.relay(release="b")
    wait_until(
        lambda: [each.release for each in JobsProvider().relays()] == ["b"], "its successor alone"
    )
    second.terminate()
    assert second.wait() == 0
    assert JobsProvider().relays() == []


def test_a_relay_on_another_host_is_not_taken_for_dead(system: System) -> None:
    Relay.objects.create(name="elsewhere:1", host="elsewhere", pid=2**22 + 1)
    relay = system.relay()
    wait_until(lambda: Relay.objects.count() == 2, "both relays")
    assert relay.alive
