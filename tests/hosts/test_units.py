"""The systemd units, which no test host runs: what systemd itself says of them."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from hosts.site import Site

pytestmark = [pytest.mark.hosts, pytest.mark.long]

# As a host with systemd would get them; in a dry run, so that nothing is written.
RENDER = """\
- name: Render units
  hosts: data1:worker1
  become: true
  tasks:
    - name: Pretend that there is systemd
      ansible.builtin.set_fact:
        service_mgr: systemd
        cacheable: true
    - name: Render
      when: inventory_hostname == 'worker1'
      ansible.builtin.include_role:
        name: supervisor
    - name: Render
      when: inventory_hostname == 'data1'
      ansible.builtin.include_role:
        name: redis
        tasks_from: server
      vars:
        redis_package: {stat: {exists: true}}
      loop: >-
        {{ (lookup('ansible.builtin.file', 'roles/redis/defaults/main.yml')
            | from_yaml).redis_servers | dict2items }}
      loop_control:
        loop_var: redis_server
        label: "{{ redis_server.key }}"
"""


def units(site: Site) -> Mapping[str, str]:
    """The text of each unit by its name, from what a dry run would write."""
    (site.folder / "deploy" / "render.yml").write_text(RENDER)
    run = site.playbook("render.yml", "--check", "--diff")
    assert run.returncode == 0, run.output
    found = re.findall(r"^\+\+\+ after: .*\n@@.*\n((?:\+.*\n)+)", run.output, re.MULTILINE)
    texts = [re.sub(r"^\+", "", text, flags=re.MULTILINE) for text in found]
    named = {re.search(r"^Description=(.*)$", text, re.MULTILINE): text for text in texts}
    return {match[1]: text for match, text in named.items() if match}


def test_systemd_understands_each_unit_and_gives_a_stop_the_time_that_tasks_need(
    provisioned: Site, tmp_path: Path
) -> None:
    rendered = units(provisioned)
    slug = provisioned.slug
    assert sorted(rendered) == [
        f"Redis, the broker of {slug}",
        f"Redis, the cache of {slug}",
        f"supervisord, which runs {slug}",
    ]
    for number, text in enumerate(rendered.values()):
        unit = tmp_path / f"unit{number}.service"
        # This machine has no supervisord of the project's.
        unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
        verify = ["systemd-analyze", "verify", "--man=no", str(unit)]
        verified = subprocess.run(verify, check=False, capture_output=True, text=True)
        said = [line for line in verified.stderr.splitlines() if unit.name in line]
        assert (verified.returncode, said) == (0, []), verified.stderr
    supervisord = rendered[f"supervisord, which runs {slug}"]
    queues = yaml.safe_load((provisioned.folder / "config" / "queues.yml").read_text())
    longest = max(queue["time_limit"] for queue in queues.values())
    [stop] = re.findall(r"^TimeoutStopSec=(\d+)$", supervisord, re.MULTILINE)
    assert int(stop) > longest + 30
    assert "KillMode=mixed" in supervisord
    assert f"User={slug}" in supervisord


def test_a_mistake_in_a_unit_is_noticed(tmp_path: Path) -> None:
    unit = tmp_path / "wrong.service"
    unit.write_text("[Service]\nExecStart=/bin/true\nTimeoutStopSec=soon\nKillMod=mixed\n")
    verify = ["systemd-analyze", "verify", "--man=no", str(unit)]
    said = subprocess.run(verify, check=False, capture_output=True, text=True).stderr
    assert "Failed to parse time value" in said
    assert "KillMod" in said


def test_upgrades_of_packages_never_restart_supervisord(provisioned: Site) -> None:
    host = provisioned.hosts["worker1"]
    rule = host.read(f"/etc/needrestart/conf.d/{provisioned.slug}.conf")
    [pattern] = re.findall(r"override_rc}\{qr\((.*)\)} = 0;", rule)
    service = f"{provisioned.slug.replace('_', '-')}-supervisor"
    assert re.search(pattern, f"{service}.service")
    provisioned.write_variables(base_unattended_upgrades=True)
    run = provisioned.playbook("provision.yml", "--tags", "base")
    assert run.returncode == 0, run.output
    dump = host.run("apt-config", "dump").stdout
    assert 'APT::Periodic::Unattended-Upgrade "1"' in dump
    assert 'Unattended-Upgrade::Automatic-Reboot "false"' in dump
    assert 'Unattended-Upgrade::Package-Blacklist:: "postgresql-.*"' in dump
