"""Deploys that add, change and remove a queue: no message is stranded."""

import pytest

from hosts.deploys import Deploys
from hosts.load import Visitors

pytestmark = [pytest.mark.hosts, pytest.mark.long]

QUEUES = "config/queues.yml"
BULK = """
bulk:
  purpose: what a test adds, changes and removes
  concurrency: 1
  soft_time_limit: 50
  time_limit: 60
  latency: {warn: 15, critical: 60}
  routes: ["*.short_plain"]
"""


def test_no_message_is_stranded_when_a_queue_is_added_changed_and_removed(deploys: Deploys) -> None:
    path = deploys.site.folder / QUEUES
    before = path.read_text()
    each = {"short_plain": 2, "short_durable": 2, "email_plain": 1}
    deploys.commit("Before the queue")
    deploys.deployed()
    with Visitors(deploys.web, deploys.domain, rate=5, each=each) as visitors:
        for message, queues in (
            ("Add a queue", before + BULK),
            ("Change a queue", before + BULK.replace("concurrency: 1", "concurrency: 2")),
            ("Remove a queue", before),
        ):
            deploys.commit(message, {QUEUES: queues})
            deploys.deployed()
    assert not visitors.failed
    for count in deploys.settled().values():
        assert (count.lost, count.doubled, count.repeated) == (0, 0, 0), count
    assert not any("bulk" in program for each in _programs(deploys) for program in each)


def _programs(deploys: Deploys) -> list[list[str]]:
    return [
        [name for name, state in programs.items() if state == "RUNNING"]
        for host in deploys.app_hosts
        for programs in deploys.generations(host).values()
    ]
