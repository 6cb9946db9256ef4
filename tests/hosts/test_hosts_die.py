"""Hosts that die and come back: durable tasks are not lost, and their effects are there once."""

from collections.abc import Iterator

import pytest

from hosts.deploys import Deploys, wait
from hosts.fleet import Host
from hosts.load import Visitors

pytestmark = [pytest.mark.hosts, pytest.mark.long]

# Plain tasks that a killed worker held return after the visibility timeout, an hour.
DURABLE = {"short_durable": 3, "charge_durable": 1}
LONG = {"report_durable": (10.0, 5.0)}


@pytest.fixture
def visitors(deploys: Deploys) -> Iterator[Visitors]:
    with Visitors(deploys.web, deploys.domain, rate=5, each=DURABLE, long=LONG) as visitors:
        yield visitors


def host(deploys: Deploys, name: str) -> Host:
    return deploys.site.hosts[name]


def loaded(visitors: Visitors, seconds: float) -> None:
    """Wait until the load has gone on for so long."""
    until = visitors.elapsed + seconds
    wait(lambda: visitors.elapsed > until, "time stands still", seconds + 10)


def running(deploys: Deploys) -> int:
    """How many long tasks run now."""
    [[number]] = deploys.query(
        "SELECT count(*) FILTER (WHERE event = 'begun') - count(*) FILTER (WHERE event = 'ended')"
        " FROM drill_effect WHERE kind = 'report_durable'"
    )
    return int(number)


def nothing_is_lost(deploys: Deploys, visitors: Visitors) -> None:
    visitors.end()
    found = deploys.settled(120)
    for kind in (*DURABLE, *LONG):
        print(found[kind])
        assert found[kind].lost == 0
        # What is one transaction with the end of its job happened once; a long one that was killed
        # in the middle ran again.
        if kind in DURABLE:
            assert found[kind].doubled == 0


def away(visitors: Visitors, name: str, began: float, ended: float) -> None:
    """Requests failed only at that host, and only while it was away, or were cut off by its end."""
    for answer in visitors.failed:
        assert answer.host == name, answer
        assert answer.at + answer.seconds >= began, answer
        assert answer.at <= ended, answer


def test_a_killed_worker_host_loses_no_durable_task(deploys: Deploys, visitors: Visitors) -> None:
    wait(lambda: running(deploys) > 0, "no long task has begun", 60)
    host(deploys, "worker1").kill()
    loaded(visitors, 5)
    host(deploys, "worker1").start()
    loaded(visitors, 15)
    assert not visitors.failed
    nothing_is_lost(deploys, visitors)
    # What was killed in the middle ran again.
    assert deploys.counts()["report_durable"].repeated > 0


def test_a_killed_web_host_fails_its_own_requests_alone(
    deploys: Deploys, visitors: Visitors
) -> None:
    loaded(visitors, 5)
    began = visitors.elapsed
    host(deploys, "app2").kill()
    loaded(visitors, 5)
    host(deploys, "app2").start()
    serves(visitors, "app2")
    ended = visitors.elapsed
    loaded(visitors, 5)
    away_from = [answer for answer in visitors.failed if answer.host == "app2"]
    assert away_from
    nothing_is_lost(deploys, visitors)
    away(visitors, "app2", began, ended)


def test_a_killed_relay_host_is_replaced_by_the_other(deploys: Deploys, visitors: Visitors) -> None:
    loaded(visitors, 5)
    began = visitors.elapsed
    host(deploys, "app1").kill()
    loaded(visitors, 5)
    sent = [
        deploys.query("SELECT count(*) FROM drill_effect WHERE event = 'ended'") for _ in range(1)
    ]
    loaded(visitors, 10)
    more = deploys.query("SELECT count(*) FROM drill_effect WHERE event = 'ended'")
    assert int(more[0][0]) > int(sent[0][0][0])
    host(deploys, "app1").start()
    serves(visitors, "app1")
    ended = visitors.elapsed
    nothing_is_lost(deploys, visitors)
    away(visitors, "app1", began, ended)


def test_a_killed_broker_loses_no_durable_task(deploys: Deploys, visitors: Visitors) -> None:
    """Both Redis instances, with what they had not written; requests need neither."""
    data = host(deploys, "data1")
    loaded(visitors, 5)
    data.run("sh", "-c", "kill -KILL $(pgrep redis-server)")
    loaded(visitors, 10)
    scripts = data.run("sh", "-c", "ls /etc/init.d | grep -E 'broker|cache'").stdout.split()
    assert len(scripts) == 2, scripts
    for script in scripts:
        data.run("service", script, "start")
    loaded(visitors, 20)
    assert not visitors.failed
    nothing_is_lost(deploys, visitors)


def test_a_data_host_that_is_killed_or_rebooted_loses_no_durable_task(
    deploys: Deploys, visitors: Visitors
) -> None:
    data = host(deploys, "data1")
    loaded(visitors, 5)
    began = visitors.elapsed
    data.kill()
    loaded(visitors, 3)
    data.start()
    loaded(visitors, 20)
    data.reboot()
    loaded(visitors, 20)
    ended = visitors.elapsed
    nothing_is_lost(deploys, visitors)
    # Also one that was being answered when the host went.
    late = [
        answer
        for answer in visitors.failed
        if answer.at + answer.seconds < began or answer.at > ended
    ]
    assert not late


def serves(visitors: Visitors, name: str) -> None:
    """Wait until a host has answered again."""
    after = visitors.elapsed

    def answered() -> bool:
        return any(
            answer.host == name and answer.at > after and not answer.error
            for answer in list(visitors.answers)
        )

    wait(answered, f"{name} does not answer again", 60)
