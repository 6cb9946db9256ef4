"""provision.yml on real hosts: from bare, again, after a reboot; who may do what afterwards."""

import re
import socket
import ssl
import time
from collections.abc import Mapping

import pytest

from hosts.fleet import Host
from hosts.site import DOMAIN, Site

pytestmark = [pytest.mark.hosts, pytest.mark.long]

SUPERVISORCTL = "/opt/supervisor/bin/supervisorctl"
# A program as a deploy places it: it must be there again after a reboot.
GENERATION = """\
[program:web-test]
command=sleep 1000000
[group:generation-test]
programs=web-test
"""


def variables(host: Host, site: Site) -> Mapping[str, str]:
    """What the project reads on a host."""
    lines = host.read(f"/etc/{site.slug}/env").splitlines()
    return dict(re.findall(r"^(\w+)='(.*)'$", "\n".join(lines), re.MULTILINE))


def ask_redis(host: Host, url: str, *command: str) -> str:
    """Send commands from a host as redis-py would, and return the answer; no package is needed."""
    match = re.fullmatch(r"redis://:([^@]*)@([^:]+):(\d+)/0", url)
    assert match is not None
    password, server, port = match.groups()
    script = (
        "import json, socket, sys\n"
        "password, server, port, *command = json.load(sys.stdin)\n"
        "stream = socket.create_connection((server, int(port)), timeout=5)\n"
        "lines = ([f'AUTH {password}'] if password else []) + [' '.join(command)]\n"
        "for line in lines:\n"
        "    stream.sendall(line.encode() + b'\\r\\n')\n"
        "    print(stream.recv(65536).decode(), end='')\n"
    )
    text = str([password, server, port, *command]).replace("'", '"')
    completed = host.run("python3", "-c", script, stdin=text, check=False)
    return completed.stdout + completed.stderr


def ask_postgresql(host: Host, url: str, statement: str) -> str:
    """Send a statement from a host that has psycopg2, as a data host does."""
    script = (
        "import json, psycopg2, sys\n"
        "url, statement = json.load(sys.stdin)\n"
        "connection = psycopg2.connect(url, connect_timeout=5)\n"
        "connection.autocommit = True\n"
        "cursor = connection.cursor()\n"
        "cursor.execute(statement)\n"
        "print(cursor.fetchall() if cursor.description else 'done')\n"
    )
    text = f'["{url}", "{statement}"]'
    completed = host.run("python3", "-c", script, stdin=text, check=False)
    return completed.stdout + completed.stderr


def https(host: Host, path: str = "/", name: str = DOMAIN) -> str:
    """Return the head of the site's answer, over TLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host.address, 443), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as stream,
    ):
        request = f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
        stream.sendall(request.encode())
        return stream.recv(65536).decode().partition("\r\n\r\n")[0]


def everything_runs(site: Site) -> None:
    """Each host does what its groups ask for."""
    for name, groups in site.layout.items():
        host = site.hosts[name]
        if {"web", "workers", "relay", "beat"} & set(groups):
            names = variables(host, site)
            assert "PONG" in ask_redis(host, names["BROKER_URL"], "PING"), name
            assert "PONG" in ask_redis(host, names["CACHE_URL"], "PING"), name
            assert supervisor(host, site, "version").startswith("4."), name
        if "web" in groups:
            # nginx answers, and there is no release behind it.
            assert "502 Bad Gateway" in https(host), name
            assert "max-age=3600" in https(host), name


def supervisor(host: Host, site: Site, *command: str) -> str:
    configuration = f"/etc/{site.slug}/supervisor/supervisord.conf"
    run = host.run(SUPERVISORCTL, "--configuration", configuration, *command, check=False)
    return run.stdout + run.stderr


def test_a_bare_machine_is_provisioned_and_a_second_run_changes_nothing(bare: Site) -> None:
    began = time.monotonic()
    first = bare.make("provision")
    seconds = time.monotonic() - began
    assert first.returncode == 0, first.output
    assert first.changed["server1"] > 20
    everything_runs(bare)
    began = time.monotonic()
    second = bare.make("provision")
    print(f"From bare: {seconds:.0f} s; again: {time.monotonic() - began:.0f} s")
    assert second.returncode == 0, second.output
    assert second.changed == {"server1": 0}, second.output
    dry = bare.playbook("provision.yml", "--check", "--diff")
    assert (dry.returncode, dry.changed) == (0, {"server1": 0}), dry.output


def test_a_dry_run_on_a_bare_machine_says_what_it_would_do_and_does_nothing(bare: Site) -> None:
    dry = bare.playbook("provision.yml", "--check", "--diff")
    assert dry.returncode == 0, dry.output
    assert dry.changed["server1"] > 5
    host = bare.hosts["server1"]
    assert host.run("test", "-e", f"/srv/{bare.slug}", check=False).returncode == 1


def test_four_hosts_are_provisioned_and_a_second_run_changes_nothing(provisioned: Site) -> None:
    everything_runs(provisioned)
    second = provisioned.playbook("provision.yml")
    assert second.returncode == 0, second.output
    assert second.changed == dict.fromkeys(provisioned.layout, 0), second.output


def test_each_host_comes_back_from_a_reboot_and_from_a_power_cut(provisioned: Site) -> None:
    worker = provisioned.hosts["worker1"]
    worker.write(f"/etc/{provisioned.slug}/supervisor/conf.d/test.conf", GENERATION)
    supervisor(worker, provisioned, "reread")
    supervisor(worker, provisioned, "add", "generation-test")

    def runs() -> bool:
        return "RUNNING" in supervisor(worker, provisioned, "status", "generation-test:web-test")

    worker.wait(runs, "does not run the program")
    for name, host in provisioned.hosts.items():
        host.reboot()
        host.wait(lambda: _all_run(provisioned), f"is back, but not everything after {name}")
    worker.wait(runs, "does not run the program after a reboot")
    for host in provisioned.hosts.values():
        host.kill()
    for host in provisioned.hosts.values():
        host.start()
    worker.wait(lambda: _all_run(provisioned), "is back, but not everything")
    worker.wait(runs, "does not run the program after a power cut")


def _all_run(site: Site) -> bool:
    try:
        everything_runs(site)
    except (AssertionError, OSError):
        return False
    return True


def test_tags_run_one_part_alone(provisioned: Site) -> None:
    run = provisioned.playbook("provision.yml", "--tags", "nginx")
    assert run.returncode == 0, run.output
    assert "TASK [nginx :" in run.output
    assert "TASK [preflight :" in run.output
    assert "TASK [postgresql :" not in run.output


def test_a_change_of_settings_never_restarts_supervisord(provisioned: Site) -> None:
    worker = provisioned.hosts["worker1"]
    before = supervisor(worker, provisioned, "pid")
    provisioned.write_variables(settings_more={"LOG_LEVEL": "WARNING"})
    worker.run("sh", "-c", f"echo '; old' >> /etc/{provisioned.slug}/supervisor/supervisord.conf")
    run = provisioned.playbook("provision.yml")
    assert run.returncode == 0, run.output
    assert run.changed["worker1"] == 2
    assert variables(worker, provisioned)["LOG_LEVEL"] == "WARNING"
    assert supervisor(worker, provisioned, "pid") == before
