"""Healthy systems that look busy: nobody is woken up."""

import time

import pytest
from django.db import connection

from reliable.jobs import operations
from reliable.probes.models import Target
from reliable.testing.jobs import note
from reliable.testing.system import System
from reliable.testing.tasks import nap
from reliable.testing.waiting import wait_until
from reliable.tests.probed import CRITICAL, PATIENT, Probed

pytestmark = pytest.mark.chaos

_ALL = ["critical", "mail", "slow", "default"]
_LISTS = [each for name in _ALL for each in (name, f"{name}.jobs")]


@pytest.fixture
def probed(system: System) -> Probed:
    """With the promises of config/queues.yml."""
    probed = Probed(system, impatient=False)
    system.relay()
    return probed


def test_a_worker_whose_only_process_is_busy_for_25_s(probed: Probed) -> None:
    probed.worker("mail", concurrency=1)
    probed.worker("default", reads=["critical", "slow", "default"])
    probed.system.beat()
    probed.wait_until_well("beat", *_LISTS)
    nap.apply_async(("long", 25), queue="mail")
    wait_until(lambda: probed.system.events.of("end"), "the end of the task", timeout=40)
    probed.wait_until_well("beat", *_LISTS, "mail-a", "default-a")
    assert probed.alarms() == []


def test_a_burst_of_250_tasks(probed: Probed) -> None:
    probed.worker("mail")
    probed.worker("default", reads=["critical", "slow", "default"])
    probed.system.beat()
    probed.wait_until_well("beat", *_LISTS)
    for number in range(250):
        nap.apply_async((f"{number}", 0.05), queue="mail")
    wait_until(lambda: len(probed.system.events.of("end")) == 250, "their end", timeout=60)
    probed.wait_until_well("beat", *_LISTS, "mail-a", "default-a")
    assert probed.alarms() == []


@pytest.mark.own_servers
def test_a_broker_that_is_killed_and_comes_back_empty(probed: Probed) -> None:
    probed.worker("mail", reads=_ALL)
    probed.system.beat()
    probed.wait_until_well("beat", *_LISTS, "mail-a")
    servers = probed.system.servers
    servers.processes["broker"].kill()
    servers.processes["broker"].wait()
    servers.processes["broker"].start()
    servers.wait_for("broker")
    servers.broker.flush(probed.system.broker_database)
    since = probed.now()
    wait_until(
        lambda: (
            Target.objects.filter(kind__in=("queue", "worker"), returned_at__gt=since).count()
            == len(_LISTS) + 1
        ),
        "new answers of all",
        timeout=40,
        saw=probed.states,
    )
    probed.wait_until_well("beat", *_LISTS, "mail-a")
    assert probed.alarms() == []


@pytest.mark.own_servers
def test_a_database_that_is_away_for_longer_than_any_threshold(probed: Probed) -> None:
    probed.worker("mail", reads=_ALL)
    probed.system.beat()
    probed.wait_until_well("beat", *_LISTS, "mail-a")
    servers = probed.system.servers
    connection.close()
    servers.processes["postgresql"].kill()
    servers.processes["postgresql"].wait()
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > PATIENT + 2, "too long", timeout=30)
    servers.processes["postgresql"].start()
    servers.wait_for("postgresql")
    since = probed.now()
    wait_until(
        lambda: (
            Target.objects.filter(kind__in=("queue", "worker"), returned_at__gt=since).count()
            == len(_LISTS) + 1
        ),
        "new answers of all",
        timeout=40,
        saw=probed.states,
    )
    probed.wait_until_well("beat", *_LISTS, "mail-a")
    assert probed.alarms() == []


def test_a_deploy_that_starts_new_workers_while_old_ones_finish(probed: Probed) -> None:
    old = probed.worker("mail", reads=_ALL)
    relay = probed.system.relay()
    beat = probed.system.beat()
    probed.wait_until_well("beat", *_LISTS, "mail-a")
    nap.apply_async(("long", 8), queue="mail")
    wait_until(lambda: probed.system.events.of("start"), "the start of the task")
    probed.worker("mail", release="b", reads=_ALL)
    probed.system.relay(release="b")
    old.terminate()
    relay.terminate()
    beat.restart()
    assert old.wait() == 0
    assert relay.wait() == 0
    wait_until(
        lambda: Target.objects.filter(kind="queue", release="b").count() == len(_LISTS),
        "answers of the new release",
        saw=probed.states,
    )
    probed.wait_until_well("beat", *_LISTS, "mail-b")
    assert Target.objects.get(name__startswith="mail-a@").retired_at is not None
    assert probed.alarms() == []


def test_a_queue_that_somebody_paused_and_whose_worker_he_stopped(system: System) -> None:
    probed = Probed(system)  # whose promises are broken within seconds
    system.relay()
    worker = probed.worker("mail")
    probed.worker("default", reads=["critical", "slow", "default"])
    system.beat()
    probed.wait_until_well("beat", *_LISTS, "mail-a", "default-a")
    operations.pause("mail", by="ops", why="the provider is down")
    wait_until(lambda: probed.state("mail") == probed.state("mail.jobs") == "paused", "the pause")
    target = Target.objects.get(name="mail")
    assert "by ops (the provider is down)" in target.why
    worker.terminate()
    worker.wait()
    asked = probed.now()
    wait_until(lambda: (probed.now() - asked).total_seconds() > CRITICAL + 2, "it to be missed")
    worker.start()
    worker.wait_for_output(" ready.", count=2)
    note.apply_async(("kept",), queue="default")
    operations.resume("mail", by="ops")
    probed.wait_until_well("beat", *_LISTS, "mail-a")
    assert probed.alarms() == []
