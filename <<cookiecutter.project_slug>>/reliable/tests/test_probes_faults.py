"""Faults that stop a queue, on real processes: each is seen in time, and the broken link named.

The letters are those of the table in the operations manual.
"""

import pytest

from reliable.testing.system import System
from reliable.testing.tasks import nap
from reliable.tests.probed import CRITICAL, DEAD, Probed

pytestmark = pytest.mark.chaos


@pytest.fixture
def probed(system: System) -> Probed:
    return Probed(system)


def test_b_all_slots_stuck_in_a_task(probed: Probed) -> None:
    worker = probed.worker()
    probed.system.beat()
    probed.wait_until_well("beat", "mail", "mail.jobs", "mail-a")
    since = probed.now()
    for number in range(2):
        nap.apply_async((f"stuck {number}", 60), queue="mail")
    for name in ("mail", "mail.jobs", "mail-a"):
        change = probed.alarm(name, "silent", since, CRITICAL)
        assert change.hop == "slots"
        assert "nap" in change.why
    assert worker.alive


def test_c_all_processes_of_the_pool_frozen(probed: Probed) -> None:
    worker = probed.worker()
    probed.system.beat()
    probed.wait_until_well("beat", "mail", "mail.jobs", "mail-a")
    since = probed.now()
    for child in worker.children():
        child.suspend()
    for name in ("mail", "mail.jobs", "mail-a"):
        change = probed.alarm(name, "silent", since, CRITICAL)
        assert change.hop == "slots"
        assert "frozen" in change.why


def test_d_one_of_two_processes_frozen_swallows_one_message(probed: Probed) -> None:
    worker = probed.worker()
    probed.system.beat()
    probed.wait_until_well("beat", "mail", "mail.jobs", "mail-a")
    since = probed.now()
    worker.children()[0].suspend()
    change = probed.alarm("mail-a", "silent", since, DEAD + CRITICAL)
    assert change.hop == "slots"
    assert "1 message" in change.why


def test_h_no_worker_reads_the_queue(probed: Probed) -> None:
    probed.worker("default")
    probed.system.beat()
    change = probed.alarm("mail", "silent", probed.now(), CRITICAL)
    assert change.hop == "queue"
    assert "no worker reads it (workers: default-a@" in change.why
    probed.wait_until_well("beat", "default", "default.jobs", "default-a")


def test_j_a_worker_lost_its_consumer(probed: Probed) -> None:
    probed.worker()
    probed.system.beat()
    probed.wait_until_well("beat", "mail", "mail.jobs", "mail-a")
    since = probed.now()
    nap.app.control.cancel_consumer("mail")
    change = probed.alarm("mail", "silent", since, CRITICAL)
    assert change.hop == "queue"
    assert "is alive, but does not read it any more" in change.why
    assert probed.alarm("mail-a", "silent", since, CRITICAL).hop == "queue"
    assert probed.state("mail.jobs") == "ok"
