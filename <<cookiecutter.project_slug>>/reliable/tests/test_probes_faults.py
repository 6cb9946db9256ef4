"""Faults that stop a queue, on real processes: each is seen in time, and the broken link named.

The letters are those of the table in reliable/probes/README.md.
"""

import socket
import subprocess
import sys

import pytest
from django.conf import settings

from reliable.testing.processes import Process
from reliable.testing.system import System
from reliable.testing.tasks import nap
from reliable.testing.waiting import wait_until
from reliable.tests.probed import CRITICAL, DEAD, INTERVAL, LIMIT, TICK, Probed

pytestmark = pytest.mark.chaos

_MAIL = ("beat", "mail", "mail.jobs", "mail-a")


@pytest.fixture
def probed(system: System) -> Probed:
    return Probed(system)


@pytest.fixture
def worker(probed: Probed) -> Process:
    """A worker of `mail` with two slots, and beat; all is well."""
    process = probed.worker()
    probed.system.beat()
    probed.wait_until_well(*_MAIL)
    return process


def _stuck(number: int) -> None:
    for each in range(number):
        nap.apply_async((f"stuck {each}", 90), queue="mail")


def test_b_all_slots_stuck_in_a_task(probed: Probed, worker: Process) -> None:
    since = probed.now()
    _stuck(2)
    for name in ("mail", "mail.jobs", "mail-a"):
        change = probed.alarm(name, "silent", since, CRITICAL)
        assert change.hop == "slots"
        assert "2 slots of mail-a@" in change.why
        assert "nap" in change.why


def test_c_all_processes_of_the_pool_frozen(probed: Probed, worker: Process) -> None:
    since = probed.now()
    for child in worker.children():
        child.suspend()
    for name in ("mail", "mail.jobs", "mail-a"):
        change = probed.alarm(name, "silent", since, CRITICAL)
        assert change.hop == "slots"
        assert "frozen" in change.why


def test_d_one_of_two_processes_frozen_swallows_one_message(
    probed: Probed, worker: Process
) -> None:
    since = probed.now()
    worker.children()[0].suspend()
    change = probed.alarm("mail-a", "silent", since, DEAD)
    assert change.hop == "slots"
    assert "took a message that no process of its pool begins" in change.why
    # And no more, whatever the other one has been given a moment ago.
    wait_until(
        lambda: (target := probed.target("mail-a")) and target.report["unstarted"] == 1,
        "one message that is left",
        saw=probed.states,
    )


def test_e_the_main_process_frozen(probed: Probed, worker: Process) -> None:
    since = probed.now()
    worker.freeze()
    for name, threshold in (("mail-a", DEAD), ("mail", CRITICAL), ("mail.jobs", CRITICAL)):
        change = probed.alarm(name, "silent", since, threshold)
        assert change.hop == "worker"
        assert "mail-a@" in change.why
        assert "is dead or frozen" in change.why


def test_f_the_only_worker_killed(probed: Probed, worker: Process) -> None:
    since = probed.now()
    worker.kill()
    for name, threshold in (("mail-a", DEAD), ("mail", CRITICAL), ("mail.jobs", CRITICAL)):
        change = probed.alarm(name, "silent", since, threshold)
        assert change.hop == "worker"
        assert "is dead or frozen" in change.why


def test_g_the_pool_of_one_of_two_workers_frozen(probed: Probed, worker: Process) -> None:
    second = probed.worker(release="b")
    probed.wait_until_well(*_MAIL, "mail-b")
    since = probed.now()
    for child in second.children():
        child.suspend()
    change = probed.alarm("mail-b", "silent", since, CRITICAL)
    assert change.hop == "slots"
    assert "frozen" in change.why
    assert probed.state("mail-a") == "ok"


def test_h_no_worker_reads_the_queue(probed: Probed) -> None:
    probed.worker("default")
    probed.system.beat()
    change = probed.alarm("mail", "silent", probed.now(), CRITICAL)
    assert change.hop == "queue"
    assert "no worker reads it (workers: default-a@" in change.why
    probed.wait_until_well("beat", "default", "default.jobs", "default-a")


def test_i_the_worker_reads_another_queue_than_is_meant(probed: Probed) -> None:
    probed.worker("mail", reads=["slow"])
    probed.system.beat()
    change = probed.alarm("mail", "silent", probed.now(), CRITICAL)
    assert change.hop == "queue"
    assert "no worker reads it (workers: mail-a@" in change.why
    assert probed.state("mail-a") == "ok"


def test_j_a_worker_lost_its_consumer(probed: Probed, worker: Process) -> None:
    since = probed.now()
    nap.app.control.cancel_consumer("mail")
    change = probed.alarm("mail", "silent", since, CRITICAL)
    assert change.hop == "queue"
    assert "is alive, but does not read it any more" in change.why
    change = probed.alarm("mail-a", "silent", since, CRITICAL)
    assert change.hop == "queue"
    assert "does not read mail any more" in change.why
    assert probed.state("mail.jobs") == "ok"


def test_k_messages_taken_ahead_behind_long_tasks(system: System) -> None:
    ahead = "CELERY_WORKER_DISABLE_PREFETCH = False\nCELERY_WORKER_PREFETCH_MULTIPLIER = 7\n"
    probed = Probed(system, ahead)
    probed.worker()
    system.beat()
    probed.wait_until_well(*_MAIL)
    since = probed.now()
    _stuck(12)
    change = probed.alarm("mail", "silent", since, CRITICAL)
    assert change.hop == "slots"
    assert "more are taken" in change.why
    assert system.waiting("mail") == 0


@pytest.mark.parametrize("harm", ["kill", "freeze"])
def test_l_beat_dead_or_frozen(probed: Probed, harm: str) -> None:
    probed.worker()
    beat = probed.system.beat()
    probed.wait_until_well(*_MAIL)
    since = probed.now()
    getattr(beat, harm)()
    change = probed.alarm("beat", "silent", since, TICK)
    assert change.hop == "beat"
    assert change.why.startswith("beat has not ticked for ")
    wait_until(lambda: probed.state("mail") == "unknown", "mail to be unknown", saw=probed.states)
    assert [each for each in probed.alarms() if "beat" in each and "silent" in each]
    assert not [each for each in probed.alarms() if each.startswith(("queue mail", "worker"))]


@pytest.mark.own_servers
def test_a_beat_that_starts_without_a_broker_ticks_and_the_broker_is_named(probed: Probed) -> None:
    probed.worker()
    broker = probed.system.servers.processes["broker"]
    broker.kill()
    broker.wait()
    beat = probed.system.beat()
    since = probed.now()
    for name in ("mail", "mail.jobs"):
        assert probed.alarm(name, "unsent", since, CRITICAL).hop == "broker"
    assert probed.state("beat") == "ok", probed.states()
    assert beat.alive


def test_m_the_broker_connection_of_one_of_two_workers_hangs(
    probed: Probed, worker: Process
) -> None:
    proxy = probed.system.broker_proxy()
    probed.worker(release="b")
    probed.wait_until_well(*_MAIL, "mail-b")
    since = probed.now()
    proxy.freeze()
    change = probed.alarm("mail-b", "silent", since, CRITICAL)
    assert change.hop == "broker"
    assert "it is alive and idle" in change.why
    assert probed.state("mail-a") == "ok"


@pytest.mark.own_servers
def test_p_the_broker_is_out_of_memory(probed: Probed, worker: Process) -> None:
    since = probed.now()
    with probed.system.servers.broker.client(0) as client:
        client.config_set("maxmemory", "1")
    for name in ("mail", "mail.jobs", "mail-a"):
        change = probed.alarm(name, "unsent", since, 2 * INTERVAL)
        assert change.hop == "broker"
        assert "OOM" in change.why or "maxmemory" in change.why


def test_r_one_of_two_workers_on_one_machine_killed(probed: Probed, worker: Process) -> None:
    second = probed.worker(release="b")
    probed.wait_until_well(*_MAIL, "mail-b")
    since = probed.now()
    second.kill()
    change = probed.alarm("mail-b", "silent", since, DEAD)
    assert change.hop == "worker"
    assert "is dead or frozen" in change.why
    wait_until(lambda: probed.state("mail") == "ok", "mail to be answered by the other")
    assert probed.state("mail-a") == "ok"


def test_v_one_of_two_slots_stuck_for_ever(probed: Probed, worker: Process) -> None:
    since = probed.now()
    _stuck(1)
    change = probed.alarm("mail-a", "late", since, LIMIT + 1)
    assert change.hop == "slots"
    assert "which may take 12 s" in change.why
    assert probed.alarm("mail-a", "silent", since, LIMIT + CRITICAL).hop == "slots"
    assert probed.state("mail") == probed.state("mail.jobs") == "ok"


def test_z_a_stop_that_waits_for_a_task(probed: Probed, worker: Process) -> None:
    _stuck(1)
    wait_until(lambda: probed.system.events.of("start"), "the task to begin")
    since = probed.now()
    worker.terminate()
    for name in ("mail", "mail.jobs"):
        change = probed.alarm(name, "silent", since, CRITICAL)
        assert change.hop == "worker"
        assert "is stopping" in change.why
        assert "nap" in change.why


def test_relays_one_dead_then_all(probed: Probed, worker: Process) -> None:
    relays = [probed.system.relay(), probed.system.relay(release="b")]
    names = [f"{socket.gethostname()}:{relay.pid}" for relay in relays]
    probed.wait_until_well(*_MAIL, *names)
    since = probed.now()
    relays[0].kill()
    change = probed.alarm(names[0], "silent", since, DEAD)
    assert change.hop == "relay"
    assert "1 other publishes" in change.why
    assert probed.state(names[1]) == "ok"
    since = probed.now()
    relays[1].kill()
    for name in (names[1], "relays"):
        change = probed.alarm(name, "silent", since, DEAD)
        assert change.hop == "relay"
        assert "durable tasks wait in the database" in change.why


def test_the_only_relay_was_stopped_and_is_missed(probed: Probed, worker: Process) -> None:
    relay = probed.system.relay()
    probed.wait_until_well(*_MAIL, "relays")
    since = probed.now()
    relay.terminate()
    assert relay.wait() == 0
    change = probed.alarm("relays", "silent", since, DEAD)
    assert change.hop == "relay"
    assert probed.target(f"{socket.gethostname()}:{relay.pid}") is None


def test_the_gate_waits_for_the_new_release(probed: Probed) -> None:
    every = ["critical", "mail", "slow", "default"]
    probed.system.relay(release="b")
    old = probed.worker(reads=every)
    probed.system.beat()
    probed.wait_until_well(*_MAIL)
    status, text = _gate(probed, "--wait", "4", "--release", "b")
    assert status == 2
    assert "queue: no worker of the release b reads mail (workers: mail-a@" in text
    new = probed.worker(release="b", reads=every)
    status, text = _gate(probed, "--wait", "30", "--release", "b")
    assert (status, "Every queue was answered by release b" in text) == (0, True), text
    for child in new.children():
        child.suspend()
    old.terminate()
    status, text = _gate(probed, "--wait", "6", "--release", "b")
    assert status == 2
    assert "slots: mail has not answered" in text
    assert "frozen" in text


def _gate(probed: Probed, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "manage.py", "queues", *arguments],
        cwd=settings.SUPERVISOR["directory"],
        env=probed.system.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_probe_that_is_found_too_late_is_late_and_not_silent(probed: Probed) -> None:
    """It expires at twice `critical`; who takes it from the list after that is alive."""
    probed.worker(concurrency=1)
    probed.system.beat()
    probed.wait_until_well(*_MAIL)
    since = probed.now()
    nap.apply_async(("long", 2 * CRITICAL + 4), queue="mail")
    assert probed.alarm("mail", "silent", since, CRITICAL).hop == "slots"
    wait_until(lambda: probed.system.events.of("end"), "the end of the task", timeout=30)
    probed.wait_until_well(*_MAIL)
    for name in ("mail", "mail.jobs", "mail-a"):
        target = probed.target(name)
        assert target is not None
        assert (target.expired, target.lost) == (1, 0)
