"""What `make provision` and `make deploy` find before they change anything: sentences."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from conftest import ROOT, SOURCES, ansible_filter

QUEUES = yaml.safe_load((ROOT / SOURCES / "config" / "queues.yml").read_text())
GROUPS = ("web", "workers", "relay", "beat", "postgresql", "redis")

Inventory = dict[str, Any]
Findings = Callable[[Inventory], list[str]]


@pytest.fixture(scope="module")
def findings() -> Findings:
    preflight = ansible_filter("preflight", "preflight")

    def findings(inventory: Inventory) -> list[str]:
        hosts, groups = inventory["hosts"], inventory["groups"]
        found: list[str] = preflight(hosts, list(hosts), groups, QUEUES, inventory["options"])
        return found

    return findings


@pytest.fixture
def inventory() -> Inventory:
    """Return one machine on which everything fits."""
    server = {
        "group_names": list(GROUPS),
        "nginx_acme_email": "ops@example.com",
        "preflight_df": {"stdout_lines": ["Avail", " 20000"]},
        "ansible_facts": {
            "distribution": "Debian",
            "distribution_version": "12.11",
            "python_version": "3.11.2",
            "memtotal_mb": 8000,
        },
    }
    options = {
        "systems": {"Debian": ["12", "13"], "Ubuntu": ["24.04"]},
        "python": "3.11",
        "ansible": "2.19.14",
        "process_mb": 60,
        "drain_factor": 1.8,
        "data_mb": 512,
        "system_mb": 256,
        "disk_mb": 2048,
        "secrets": {"vault_secret_key": "k" * 64, "vault_email_url": "smtp://mail"},
        "broker_url": "redis://:a@127.0.0.1:6379/0",
        "cache_url": "redis://:b@127.0.0.1:6380/0",
        "environment": "staging",
    }
    groups = {group: ["one"] for group in GROUPS}
    return copy.deepcopy({"hosts": {"one": server}, "groups": groups, "options": options})


def test_nothing_is_found_where_everything_fits(findings: Findings, inventory: Inventory) -> None:
    assert findings(inventory) == []


CASES: dict[str, tuple[Callable[[Inventory], Any], str]] = {
    "a queue without a worker": (
        lambda each: each["hosts"]["one"].update(queues=["critical", "slow", "default"]),
        "The queue mail has no worker on any host",
    ),
    "a queue that is not declared": (
        lambda each: each["hosts"]["one"].update(queues=[*QUEUES, "post"]),
        "one: `queues` names post, which config/queues.yml does not declare",
    ),
    "a concurrency that is no number": (
        lambda each: each["hosts"]["one"].update(concurrency={"mail": 0}),
        "one: `concurrency` of mail is 0; write a number",
    ),
    "a concurrency of no queue": (
        lambda each: each["hosts"]["one"].update(concurrency={"post": 2}),
        "one: `concurrency` names post",
    ),
    "an empty group": (
        lambda each: each["groups"].update(beat=[]),
        "The group beat of the inventory is empty, so nothing is scheduled",
    ),
    "a stop wait below a limit": (
        lambda each: each["hosts"]["one"].update(supervisor_stop_seconds=1800),
        "supervisor_stop_seconds is 1800, but a task of the queue slow may run for 1800 s",
    ),
    "a visibility timeout below a limit": (
        lambda each: each["hosts"]["one"].update(settings_more={"VISIBILITY_TIMEOUT": 600}),
        "VISIBILITY_TIMEOUT in settings_more is 600, but a task of the queue slow may run",
    ),
    "another system": (
        lambda each: each["hosts"]["one"]["ansible_facts"].update(distribution_version="11.9"),
        "one runs Debian 11.9, and the roles are written for Debian 12 or 13, Ubuntu 24.04.",
    ),
    "an old Python": (
        lambda each: each["hosts"]["one"]["ansible_facts"].update(python_version="3.9.2"),
        "one has Python 3.9.2, and 3.11 or newer is needed.",
    ),
    "an old Ansible": (
        lambda each: each["options"].update(ansible="2.14.18"),
        "This is ansible-core 2.14.18, and 2.19 or newer is needed",
    ),
    "no memory for two generations": (
        lambda each: each["hosts"]["one"]["ansible_facts"].update(memtotal_mb=2000),
        # web 3, relay, beat, and a parent for each of four queues with seven children.
        "one has 2000 MB of memory and needs 2496: 16 processes, 1.8 times while",
    ),
    "a full disk": (
        lambda each: each["hosts"]["one"].update(preflight_df={"stdout_lines": ["Avail", "99"]}),
        "one has 99 MB of free disk at /srv and needs 2048",
    ),
    "a secret that is not set": (
        lambda each: each["options"]["secrets"].update(vault_email_url=""),
        "vault_email_url is not set: run `make secrets ENV=staging`.",
    ),
    "a short secret": (
        lambda each: each["options"]["secrets"].update(vault_secret_key="short-secret"),
        "vault_secret_key has 12 characters, and a secret needs 16",
    ),
    "a secret with a quote": (
        lambda each: each["options"]["secrets"].update(vault_email_url="smtp://a'b"),
        "vault_email_url holds a quote or a line break",
    ),
    "no certificate": (
        lambda each: each["hosts"]["one"].update(nginx_acme_email=""),
        "one has no certificate: set nginx_acme_email, or nginx_certificate_file",
    ),
    "a certificate without its key": (
        lambda each: each["hosts"]["one"].update(nginx_certificate_file="site.pem"),
        "one: nginx_certificate_file is given without its key",
    ),
    "certificates that an authority would not give": (
        lambda each: (
            each["hosts"].update(two=each["hosts"]["one"] | {"group_names": ["web"]}),
            each["groups"].update(web=["one", "two"]),
        ),
        "one, two would each ask for a certificate of the same names, and the authority finds only",
    ),
    "no broker": (
        lambda each: each["options"].update(broker_url="redis://:x@:6379/0"),
        "There is no broker: put a host into the group redis, or vault_broker_url into",
    ),
    "broker and cache in one server": (
        lambda each: each["options"].update(cache_url="redis://:b@localhost:6379/1"),
        "Broker and cache are one Redis server, 127.0.0.1:6379",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_one_sentence_that_says_where_and_what(
    findings: Findings, inventory: Inventory, case: str
) -> None:
    breaks, sentence = CASES[case]
    breaks(inventory)
    [found] = findings(inventory)
    assert sentence in found
    assert found.endswith((".", "quote."))
    assert "short-secret" not in found
