"""What roles do only where an inventory asks for it: firewall, exporter, rules, TLS for Redis."""

import socket
import subprocess
from pathlib import Path

import pytest

from hosts.deploys import Deploys, wait
from hosts.fleet import Host
from hosts.site import Site

pytestmark = [pytest.mark.hosts, pytest.mark.long]

POSTGRESQL, BROKER, CACHE, EXPORTER = 5432, 6379, 6380, 9100


def reaches(address: str, port: int, host: Host | None = None) -> bool:
    """Whether a host, or this machine, which no inventory names, may connect to a port."""
    if host is None:
        try:
            socket.create_connection((address, port), 2).close()
        except OSError:
            return False
        return True
    code = f"import socket; socket.create_connection(('{address}', {port}), 2)"
    return host.run("python3", "-c", code, check=False).returncode == 0


def test_the_firewall_lets_in_what_is_needed_and_nothing_else(provisioned: Site) -> None:
    hosts = provisioned.hosts
    data = hosts["data1"].address
    assert reaches(data, POSTGRESQL)
    provisioned.write_variables(base_firewall=True)
    run = provisioned.playbook("provision.yml", "--tags", "base")
    assert run.returncode == 0, run.output[-4000:]
    for port in (POSTGRESQL, BROKER, CACHE):
        assert not reaches(data, port), port
        assert reaches(data, port, hosts["app2"]), port
        assert reaches(data, port, hosts["worker1"]), port
    assert reaches(data, 22)
    assert reaches(hosts["app1"].address, 443)
    assert reaches(hosts["app1"].address, 80)
    assert not reaches(hosts["worker1"].address, 443)
    again = provisioned.playbook("provision.yml", "--tags", "base")
    assert again.changed == dict.fromkeys(provisioned.layout, 0), again.output[-4000:]


def test_figures_of_the_machine_and_rules_for_prometheus_are_there_where_asked_for(
    provisioned: Site,
) -> None:
    provisioned.write_inventory(groups={"monitoring": ["data1"]})
    provisioned.write_variables(monitoring_exporter=True)
    run = provisioned.playbook("provision.yml", "--tags", "monitoring")
    assert run.returncode == 0, run.output[-4000:]
    host = provisioned.hosts["worker1"]
    figures = host.run("curl", "--silent", f"http://{host.address}:{EXPORTER}/metrics").stdout
    assert "node_memory_MemAvailable_bytes" in figures
    assert host.run("curl", "--silent", f"http://127.0.0.1:{EXPORTER}", check=False).returncode == 7
    rules = provisioned.hosts["data1"].read(f"/etc/prometheus/rules/{provisioned.slug}.yml")
    assert 'probe_success{job="my_shop-queues"}' in rules.replace(provisioned.slug, "my_shop")
    file = provisioned.folder / "rules.yml"
    file.write_text(rules)
    subprocess.run(["promtool", "check", "rules", str(file)], check=True, capture_output=True)


def test_redis_speaks_tls_alone_and_the_project_through_it(
    provisioned: Site, tmp_path: Path
) -> None:
    """Certificates made by hand, as a team's own authority would; then a deploy."""
    data = provisioned.hosts["data1"]
    authority = "/etc/ssl/certs/authority.pem"
    make_authority(tmp_path, data.address)
    for name in ("redis.pem", "redis.key"):
        data.write(f"/etc/redis/{name}", (tmp_path / name).read_text(), mode="0640")
        data.run("chgrp", "redis", f"/etc/redis/{name}")
    for host in provisioned.hosts.values():
        host.write(authority, (tmp_path / "authority.pem").read_text(), mode="0644")
    provisioned.write_variables(
        redis_tls_certificate="/etc/redis/redis.pem",
        redis_tls_key="/etc/redis/redis.key",
        redis_tls_authority=authority,
    )
    passwords = provisioned.secrets()
    urls = {
        f"vault_{name}_url": f"rediss://:{passwords[f'vault_{name}_password']}@{data.address}:{port}"
        f"/0?ssl_cert_reqs=required&ssl_ca_certs={authority}"
        for name, port in (("broker", BROKER), ("cache", CACHE))
    }
    provisioned.edit_secrets(urls)
    run = provisioned.playbook("provision.yml")
    assert run.returncode == 0, run.output[-4000:]
    plain = data.run("redis-cli", "-h", data.address, "ping", check=False)
    assert "PONG" not in plain.stdout
    deploys = Deploys(provisioned)
    deploys.deployed()
    wait(deploys.serves, "the site does not serve", 60)
    sent = deploys.ask(short_plain=2, short_durable=2, email_plain=1, charge_durable=1)["sent"]
    deploys.settled()
    assert all(deploys.ended_by(task) for task in sent)


def make_authority(folder: Path, address: str) -> None:
    """An authority, and a certificate of it for one address: redis.pem and redis.key."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    new = ("-newkey", "rsa:2048", "-nodes")
    openssl(
        *("req", "-x509", *new, "-days", "30", "-subj", "/CN=authority"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),  # Python 3.13 asks for it
        *("-keyout", "authority.key", "-out", "authority.pem"),
    )
    openssl(
        *("req", "-x509", *new, "-days", "30", "-subj", "/CN=redis"),
        *("-CA", "authority.pem", "-CAkey", "authority.key"),
        *("-addext", f"subjectAltName=IP:{address}", "-addext", "basicConstraints=CA:FALSE"),
        *("-keyout", "redis.key", "-out", "redis.pem"),
    )
