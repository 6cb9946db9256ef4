"""Certificates from an authority that speaks ACME: the first, a renewed one, a further name."""

import socket
import ssl
from pathlib import Path

import pytest

from hosts.acme import Authority, authority
from hosts.deploys import wait
from hosts.fleet import Host
from hosts.site import DOMAIN, Run, Site

pytestmark = [pytest.mark.hosts, pytest.mark.long]

FURTHER = f"www.{DOMAIN}"
RENEW = ("certbot", "renew", "--force-renewal", "--no-random-sleep-on-renew")


def visited(host: Host, name: str, trusted: Path) -> str:
    """Return the serial number of the certificate that a visitor gets, who trusts one file.

    Raises ssl.SSLError where it is another's, or where there is none of the name.
    """
    context = ssl.create_default_context(cafile=str(trusted))
    with (
        socket.create_connection((host.address, 443), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as stream,
    ):
        certificate = stream.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


def served(host: Host, name: str, trusted: Path, *, other_than: str = "") -> str:
    """Wait until visitors get such a certificate: nginx reloads beside what it does."""
    serial = ""

    def arrived() -> bool:
        nonlocal serial
        try:
            serial = visited(host, name, trusted)
        except ssl.SSLError:
            return False
        return serial != other_than

    wait(arrived, f"{name} has no such certificate", 20)
    return serial


def provision(site: Site, acme: Authority, **more: object) -> Run:
    """Provide nginx on one host, which may ask the authority for certificates."""
    site.write_inventory(groups={"web": ["app1"]})
    asking = {"nginx_acme_email": "ops@shop.test", "nginx_acme_server": acme.url}
    site.write_variables(**{"nginx_certificate_file": "", **asking, **more})
    return site.playbook("provision.yml", "--tags", "nginx")


def test_a_site_serves_what_the_authority_gives_from_the_first_day_and_over_renewals(
    provisioned: Site, tmp_path: Path
) -> None:
    host = provisioned.hosts["app1"]
    names = {DOMAIN: host, FURTHER: host}
    with authority(provisioned.fleet, names, tmp_path) as acme:
        first = provision(provisioned, acme)
        assert first.returncode == 0, first.output[-4000:]
        serial = served(host, DOMAIN, acme.certificate)

        again = provision(provisioned, acme)
        assert again.changed["app1"] == 0, again.output[-4000:]
        assert visited(host, DOMAIN, acme.certificate) == serial

        host.run(*RENEW)
        renewed = served(host, DOMAIN, acme.certificate, other_than=serial)

        with pytest.raises(ssl.SSLError, match="unrecognized name"):
            visited(host, FURTHER, acme.certificate)
        further = provision(provisioned, acme, nginx_names=[DOMAIN, FURTHER])
        assert further.returncode == 0, further.output[-4000:]
        both = served(host, FURTHER, acme.certificate)
        assert served(host, DOMAIN, acme.certificate, other_than=renewed) == both

    # Whose certificate is there needs no authority.
    away = provision(provisioned, acme, nginx_names=[DOMAIN, FURTHER])
    assert (away.returncode, away.changed["app1"]) == (0, 0), away.output[-4000:]


def test_a_site_is_served_while_the_authority_refuses_and_mended_by_the_next_run(
    provisioned: Site, tmp_path: Path
) -> None:
    host = provisioned.hosts["app1"]
    given = provisioned.password_file.with_name("certificate.pem")
    before = visited(host, DOMAIN, given)
    # To the authority, the name leads to a host without nginx.
    with authority(provisioned.fleet, {DOMAIN: provisioned.hosts["data1"]}, tmp_path) as acme:
        refused = provision(provisioned, acme)
    assert refused.returncode != 0
    task = refused.output.rpartition("\nTASK [")[2].partition("]")[0]
    assert task == "nginx : Ensure the authority has given a certificate for each name"
    assert visited(host, DOMAIN, given) == before

    mended = tmp_path / "mended"
    mended.mkdir()
    with authority(provisioned.fleet, {DOMAIN: host}, mended) as acme:
        run = provision(provisioned, acme)
    assert run.returncode == 0, run.output[-4000:]
    served(host, DOMAIN, acme.certificate)


def test_a_given_certificate_takes_the_place_of_the_authoritys_for_good(
    provisioned: Site, tmp_path: Path
) -> None:
    host = provisioned.hosts["app1"]
    given = provisioned.password_file.with_name("certificate.pem")
    with authority(provisioned.fleet, {DOMAIN: host}, tmp_path) as acme:
        provision(provisioned, acme)
        served(host, DOMAIN, acme.certificate)
        changed = provision(provisioned, acme, nginx_certificate_file=str(given))
        assert changed.returncode == 0, changed.output[-4000:]
        served(host, DOMAIN, given)
        host.run(*RENEW)
    assert host.read(f"/etc/{provisioned.slug}/tls/certificate.pem") == given.read_text()
