"""What people do on a site that runs, beside deploys: try out, look, and remove a dead lock."""

import json
import time
from collections.abc import Mapping

import pytest

from hosts.deploys import Deploys, wait
from hosts.fleet import Host

pytestmark = [pytest.mark.hosts, pytest.mark.long]


# What /health/queues says to whom it knows, healthy or not.
KNOWN = {"200", "503"}


def state(deploys: Deploys) -> Mapping[str, tuple[object, ...]]:
    """What a deploy changes of each host, in the end: what runs, and files with their times."""
    slug = deploys.site.slug
    folders = [f"/srv/{slug}/releases", f"/srv/{slug}/environments", f"/etc/{slug}"]

    def files(host: Host) -> list[str]:
        lines = host.run("find", *folders, "-printf", "%p %T@ %m %l\n").stdout.splitlines()
        return sorted(lines)

    return {
        host.name: (deploys.current(host), deploys.generations(host), files(host))
        for host in deploys.app_hosts
    }


def test_a_deploy_that_is_only_checked_changes_nothing_and_shows_no_secret(
    deploys: Deploys,
) -> None:
    release = deploys.commit("Only checked")
    before, records = state(deploys), deploys.records()
    run = deploys.deploy("ARGS=--check --diff")
    assert run.returncode == 0, run.output[-4000:]
    assert f"The release {release} would be built." in run.output
    assert (state(deploys), deploys.records()) == (before, records)
    assert [deploys.lock(host) for host in deploys.app_hosts] == ["", "", ""]
    secrets = [value for value in deploys.site.secrets().values() if value]
    assert len(secrets) >= 6
    assert [secret for secret in secrets if secret in run.output] == []


def test_what_would_go_wrong_later_is_said_before_anything_is_touched(deploys: Deploys) -> None:
    """A queue that no host works on: found in the inventory, by a deploy and by provisioning."""
    deploys.commit("A queue without a worker")
    before = state(deploys)
    own = {"worker1": {"queues": ["mail", "slow", "default"]}}
    deploys.site.write_inventory(own)
    try:
        for target in ("deploy", "provision"):
            run = deploys.site.make(target)
            assert run.returncode != 0
            assert "critical" in run.output, run.output[-3000:]
    finally:
        deploys.write_inventory()
    assert state(deploys) == before


def test_a_secret_that_was_changed_is_in_force_with_the_next_deploy(deploys: Deploys) -> None:
    old = deploys.site.secrets()["vault_health_token"]
    new = f"{old[::-1]}-changed"
    assert health(deploys, old) in KNOWN
    deploys.site.edit_secrets({"vault_health_token": new})
    deploys.commit("A new token")
    run = deploys.deployed("ARGS=--diff")
    assert health(deploys, new) in KNOWN
    assert health(deploys, old) == "403"
    assert old not in run.output
    assert new not in run.output


def health(deploys: Deploys, token: str) -> str:
    """The status of /health/queues for a stranger who knows a token."""
    return (
        deploys.web[0]
        .run(
            *("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"),
            *("--unix-socket", f"/srv/{deploys.site.slug}/run/web.sock"),
            # As nginx would say it; internal networks need no token.
            *("--header", "X-Forwarded-For: 203.0.113.5", "--header", "X-Forwarded-Proto: https"),
            *("--header", f"Authorization: Bearer {token}", "--header", f"Host: {deploys.domain}"),
            "http://localhost/health/queues",
        )
        .stdout
    )


def test_logs_are_those_of_one_queue_or_program(deploys: Deploys) -> None:
    deploys.ask(email_plain=1)
    deploys.settled()
    said = deploys.site.make("logs", "QUEUE=mail", "LINES=20").output
    assert f"/var/log/{deploys.site.slug}/worker-mail-" in said
    assert "drill.tasks.email_plain" in said
    assert "worker-slow" not in said
    assert "/web-" in deploys.site.make("logs", "PROGRAM=web").output


def test_the_lock_of_a_dead_deploy_elsewhere_holds_until_it_is_removed(deploys: Deploys) -> None:
    """Of another machine's process nothing is known, so that people decide."""
    deploys.commit("Behind a lock")
    before = deploys.everywhere()
    lock = {"id": "20260131-183005", "what": "the deploy", "who": "Bob", "where": "laptop"}
    for host in deploys.app_hosts:
        text = json.dumps({**lock, "since": int(time.time()) - 120})
        host.write(f"/srv/{deploys.site.slug}/lock", text)
    refused = deploys.deploy()
    assert refused.returncode != 0
    assert "Bob on laptop holds the lock since" in refused.output
    assert "for 2 minutes: the deploy 20260131-183005" in refused.output
    assert deploys.everywhere() == before
    assert "a deploy holds the lock: Bob, 20260131-183005" in deploys.site.make("status").output
    assert "Removed the lock of Bob on laptop" in deploys.site.make("unlock").output
    assert [deploys.lock(host) for host in deploys.app_hosts] == ["", "", ""]
    assert "Nobody held the lock." in deploys.site.make("unlock").output


def test_what_drains_past_its_limit_is_ended_and_its_durable_task_goes_on_elsewhere(
    deploys: Deploys,
) -> None:
    """A worker that neither hears TERM nor QUIT: frozen, with the task that it runs."""
    worker = deploys.site.hosts["worker1"]
    [old] = deploys.generations(worker)
    [task] = deploys.ask(charge_long=5)["sent"]
    wait(lambda: bool(deploys.begun_by(task)), "the task has not begun", 30)
    processes = worker.run("pgrep", "--full", f"critical-{old}@").stdout.split()
    assert processes
    worker.run("kill", "-STOP", *processes)
    assert deploys.ended_by(task) == []
    newer = deploys.commit("Beside a frozen worker")
    deploys.deployed()
    wait(lambda: deploys.ended_by(task) == [newer], "nobody else ran the task", 60)
    assert deploys.generations(worker)[old][f"worker-critical-{old}"] == "STOPPING"
    # The queue's time limit of 30 s and half a minute, as docs/deploy.md says, and a look each 5 s.
    wait(lambda: old not in deploys.generations(worker), "its old generation is not ended", 120)
    assert worker.run("pgrep", "--full", f"critical-{old}@", check=False).stdout == ""
    said = deploys.site.make("logs", "PROGRAM=collector").output
    assert f"QUIT to worker-critical-{old}" in said
    assert f"collected {old}" in said
    assert deploys.ended_by(task) == [newer]
