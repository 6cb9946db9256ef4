"""Who can read a secret."""

import subprocess
import threading
from typing import Self

import pytest

from hosts.fleet import Host
from hosts.site import Site

pytestmark = pytest.mark.hosts

FOLDERS = "/etc /home /opt /root /run /srv /tmp /usr/local /var"


def test_no_secret_is_in_what_ansible_prints_or_in_a_process_list_or_readable_by_others(
    provisioned: Site,
) -> None:
    """Of a run with the most words, in which every file with a secret changes."""
    site = provisioned
    secrets = [value for value in site.secrets().values() if value]
    assert len(secrets) >= 6
    needles = [*secrets, *(line for text in secrets for line in text.splitlines() if line)]
    for host in site.hosts.values():
        for pattern in (f"/etc/{site.slug}/env", f"/etc/redis/{site.slug}-*.conf"):
            host.run("sh", "-c", f"for f in {pattern}; do test ! -e $f || echo >> $f; done")
    site.hosts["app1"].run("rm", f"/etc/{site.slug}/tls/key.pem")
    watch = Watch(needles)
    with watch:
        run = site.playbook("provision.yml", "-vvv", "--diff")
    assert run.returncode == 0, run.output[-3000:]
    assert run.changed["app1"] >= 2
    assert [line for line in run.output.splitlines() if holds(line, needles)] == []
    assert watch.looks > 20
    assert watch.seen == []
    for name, host in site.hosts.items():
        assert readable_by_others(host, needles) == [], name


def test_the_search_for_secrets_finds_one_where_it_must_not_be(provisioned: Site) -> None:
    host, secret = provisioned.hosts["app1"], provisioned.secrets()["vault_secret_key"]
    host.write("/srv/leak", secret)
    assert readable_by_others(host, [secret]) == ["/srv/leak"]
    host.run("rm", "/srv/leak")
    with Watch([secret]) as watch, subprocess.Popen(["sleep", "2"], env={"X": secret}):
        pass
    assert watch.seen == []  # an environment is its account's alone
    with Watch([secret]) as watch:
        subprocess.run(["sh", "-c", "sleep 1", secret], check=True)
    assert watch.seen != []


class Watch:
    """Looks at the commands of all processes, the hosts' among them, again and again."""

    def __init__(self, needles: list[str]) -> None:
        self.needles = needles
        self.seen: list[str] = []
        self.looks = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.1):
            listing = subprocess.check_output(["ps", "-eww", "-o", "args"], text=True)
            self.seen += [line for line in listing.splitlines() if holds(line, self.needles)]
            self.looks += 1


def holds(text: str, needles: list[str]) -> bool:
    return any(needle in text for needle in needles)


def readable_by_others(host: Host, needles: list[str]) -> list[str]:
    """Files of a host that hold one of the texts and that any account can read."""
    host.write("/run/needles", "\n".join(needles), mode="0644")
    command = f"grep -rlsIF -f /run/needles {FOLDERS}"
    found = host.run("sh", "-c", command, user="nobody", check=False).stdout.split()
    host.run("rm", "/run/needles")
    return [path for path in found if path != "/run/needles"]
