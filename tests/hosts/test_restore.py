"""A backup, and its way back: jobs go on, and the outside world sees none twice unasked."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hosts.fleet import Fleet, Host
from hosts.foundation import HostsError
from hosts.site import Site
from hosts.test_provision import supervisor

pytestmark = [pytest.mark.hosts, pytest.mark.long]

PLACE_ORDER = """\
from shop.models import Product
from shop.services import place_order
product, _ = Product.objects.get_or_create(name="Tea", defaults={"price": 500, "stock": 100})
print(place_order(product, 1, "ada@example.com").pk)
"""
LIST_ORDERS = """\
from shop.models import Order
print(*Order.objects.values_list("pk", flat=True))
"""


class Provider:
    """A payment provider of the outside world; `keys` are those of all charges asked for."""

    def __init__(self, address: str) -> None:
        self.keys: list[str] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                key = self.headers["Idempotency-Key"]
                provider.keys.append(key)
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps({"id": f"charge-{key}", "amount": asked["amount"]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((address, 0), Handler)
        self.url = f"http://{address}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Release:
    """The project on a worker's host, put there by hand: deploys have tests of their own."""

    def __init__(self, site: Site, host: Host) -> None:
        self.site, self.host = site, host
        self.folder = f"/srv/{site.slug}/releases/test"
        self.python = f"{self.folder}/.venv/bin/python"

    def install(self) -> None:
        host, slug = self.host, self.site.slug
        for part in ("accounts", "config", "reliable", "requirements", "shop"):
            host.copy(self.site.folder / part, f"{self.folder}/{part}")
        for name in ("manage.py", "pyproject.toml"):
            host.write(f"{self.folder}/{name}", (self.site.folder / name).read_text())
        host.run("python3", "-m", "venv", f"{self.folder}/.venv")
        pip = (self.python, "-m", "pip", "install", "--quiet", "--require-hashes")
        host.run(*pip, "--requirement", f"{self.folder}/requirements/production.txt", timeout=300)
        self.manage("migrate")
        programs = ("--programs", "workers", "relay", "beat")
        text = self.manage("supervisor", "--deploy-id", "test", *programs)
        host.write(f"/etc/{slug}/supervisor/conf.d/test.conf", text)
        supervisor(host, self.site, "reread")
        supervisor(host, self.site, "add", "generation-test")

    def manage(self, *arguments: str, stdin: str = "") -> str:
        slug = self.site.slug
        environment = (f"ENV_FILE=/etc/{slug}/env", f"HOME=/srv/{slug}", "PYTHONWARNINGS=ignore")
        folders = (f"RUN_DIR=/srv/{slug}/run", f"LOG_DIR=/var/log/{slug}", "RELEASE=test")
        command = ("env", *environment, *folders, self.python, f"{self.folder}/manage.py")
        return self.host.run(*command, *arguments, user=slug, stdin=stdin).stdout

    def order(self) -> int:
        return int(self.manage("shell", "-v0", stdin=PLACE_ORDER).split()[-1])

    def jobs(self, state: str) -> list[str]:
        """The tasks of jobs in a state."""
        listed = json.loads(self.manage("jobs", "list", "--json", "--state", state))
        jobs = listed["jobs"] if isinstance(listed, dict) else listed
        return [job["task"] for job in jobs]

    def runs(self) -> bool:
        states = supervisor(self.host, self.site, "status").splitlines()
        return len(states) >= 6 and all("RUNNING" in state for state in states)


@pytest.fixture
def provider(fleet: Fleet) -> Iterator[Provider]:
    provider = Provider(fleet.address(1))
    yield provider
    provider.close()


@pytest.fixture
def release(provisioned: Site, provider: Provider) -> Release:
    provisioned.write_variables(settings_more={"PAYMENT_URL": provider.url})
    settings = provisioned.playbook("provision.yml", "--tags", "settings")
    assert settings.returncode == 0, settings.output
    release = Release(provisioned, provisioned.hosts["worker1"])
    release.install()
    return release


def backup(site: Site) -> str:
    """What cron runs every night."""
    data = site.hosts["data1"]
    entry = data.read(f"/etc/cron.d/{site.slug}-backup").splitlines()[-1]
    user, command = entry.split()[5:7]
    return data.run(command, user=user).stdout.strip()


def test_after_a_restore_jobs_go_on_and_no_charge_is_asked_for_twice_unless_an_operator_says_so(
    provisioned: Site, release: Release, provider: Provider
) -> None:
    site, host = provisioned, release.host
    release.order()
    host.wait(lambda: len(provider.keys) == 1, "has not charged the first order", 60)
    release.manage("jobs", "pause", "critical", "--why", "to have a job in the backup")
    release.order()
    file = backup(site)
    release.manage("jobs", "resume", "critical")
    host.wait(lambda: len(provider.keys) == 2, "has not charged the second order", 60)
    lost = release.order()
    host.wait(lambda: len(provider.keys) == 3, "has not charged the third order", 60)

    run = site.make("restore", "BACKUP=latest")
    assert run.returncode == 0, run.output
    assert file.rpartition("/")[2] in run.output

    host.wait(release.runs, "does not run everything after the restore", 60)
    paused = release.manage("jobs", "stats")
    assert "paused" in paused
    # Probes pass a paused queue: by the time they have, the relay could have offered the job.
    release.manage("queues", "--wait", "60")
    assert len(provider.keys) == 3
    assert any("charge_order" in task for task in release.jobs("waiting"))
    assert str(lost) not in release.manage("shell", "-v0", stdin=LIST_ORDERS).split()

    for queue in ("critical", "mail", "slow", "default"):
        release.manage("jobs", "resume", queue)
    host.wait(lambda: len(provider.keys) == 4, "does not go on after its queue was resumed", 60)
    # The provider sees that it has charged this one.
    assert provider.keys[3] == provider.keys[1]
    assert len(set(provider.keys)) == 3


def test_what_was_there_before_a_restore_is_kept(provisioned: Site) -> None:
    data, slug = provisioned.hosts["data1"], provisioned.slug
    psql = ("psql", "--no-align", "--tuples-only", "--command")
    table = "CREATE TABLE reliable_queue (name text PRIMARY KEY, paused_at timestamptz,"
    table += " paused_by text, paused_why text, paused_until timestamptz)"
    data.run(*psql, table, slug, user="postgres")
    backup(provisioned)
    data.run(*psql, "CREATE TABLE later (id int)", slug, user="postgres")
    run = provisioned.make("restore", "BACKUP=latest")
    assert run.returncode == 0, run.output
    databases = data.run(*psql, "SELECT datname FROM pg_database", user="postgres").stdout.split()
    [kept] = [name for name in databases if name.startswith(f"{slug}_until_")]
    for database, there in ((slug, "f"), (kept, "t")):
        exists = "SELECT to_regclass('later') IS NOT NULL"
        assert data.run(*psql, exists, database, user="postgres").stdout == f"{there}\n"
    assert "my_shop_restored" not in databases


def test_a_restore_without_such_a_backup_touches_nothing_and_says_what_there_is(
    provisioned: Site,
) -> None:
    file = backup(provisioned).rpartition("/")[2]
    refused = provisioned.make("restore", "BACKUP=yesterday.pgc")
    assert refused.returncode != 0
    assert "There is no backup yesterday.pgc" in refused.output
    assert file in refused.output
    assert set(refused.changed.values()) == {0}


def test_a_backup_that_fails_leaves_the_ones_before(provisioned: Site) -> None:
    data, slug = provisioned.hosts["data1"], provisioned.slug
    file = backup(provisioned)
    data.run("service", "postgresql", "stop")
    with pytest.raises(HostsError, match="connection to server"):
        backup(provisioned)
    left = data.run("ls", "-A", f"/var/backups/{slug}").stdout.split()
    assert left == [file.rpartition("/")[2]]
