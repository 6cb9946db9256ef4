"""Who can read a secret."""

import shutil
import stat
import subprocess
import threading
from pathlib import Path
from typing import Self

import pytest

from hosts.fleet import Fleet, Host
from hosts.site import Site

pytestmark = [pytest.mark.hosts, pytest.mark.long]

FOLDERS = "/etc /home /opt /root /run /srv /tmp /usr/local /var"


def test_secrets_are_random_and_encrypted_and_their_password_stays_out_of_git(
    project: Path, fleet: Fleet
) -> None:
    shutil.copytree(project, fleet.folder / project.name)
    site = Site(fleet.folder / project.name, fleet, {})
    site.inventory.mkdir()
    (site.inventory / "group_vars" / "all").mkdir(parents=True)
    made = site.make("secrets")
    assert made.returncode == 0, made.output
    vault = site.inventory / "group_vars" / "all" / "vault.yml"
    assert vault.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    values = [value for value in site.secrets().values() if isinstance(value, str) and value]
    assert len(values) == len(set(values)) == 5
    assert min(map(len, values)) >= 64
    password = site.password_file.read_text().strip()
    assert not holds(made.output, [*values, password])
    assert stat.S_IMODE(site.password_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(site.password_file.parent.stat().st_mode) == 0o700
    subprocess.run(["git", "init", "--quiet"], cwd=site.folder, check=True)
    ignored = ["git", "check-ignore", "--quiet"]
    assert (
        subprocess.run([*ignored, site.password_file], cwd=site.folder, check=False).returncode == 0
    )
    assert subprocess.run([*ignored, vault], cwd=site.folder, check=False).returncode == 1
    # A second call edits, and never makes new passwords for servers that have the old ones.
    assert site.make("secrets", EDITOR="true").returncode == 0
    assert values == [value for value in site.secrets().values() if value in values]
    site.password_file.unlink()
    refused = site.make("secrets")
    assert refused.returncode != 0
    assert "its password does not: put it into" in refused.output


def test_no_secret_is_in_what_ansible_prints_or_in_a_process_list_or_readable_by_others(
    provisioned: Site,
) -> None:
    """Of a run with the most words, in which every file with a secret changes."""
    site = provisioned
    secrets = [value for value in site.secrets().values() if value]
    assert len(secrets) >= 6
    # Each line of a key; its first and last are in every key.
    lines = [line for text in secrets for line in text.splitlines()]
    needles = [line for line in lines if line and not line.startswith("-----")]
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
