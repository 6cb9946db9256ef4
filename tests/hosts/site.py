"""A generated project whose playbooks are run on a fleet: inventory, vault, and `playbook`."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from hosts import ansible
from hosts.fleet import Fleet, Host

ENVIRONMENT = "test"
DOMAIN = "shop.test"
# Host to the groups that it is in.
Layout = Mapping[str, Sequence[str]]
SEVERAL: Layout = {
    "data1": ("postgresql", "redis"),
    "app1": ("web", "relay", "beat"),
    "app2": ("web",),
    "worker1": ("workers", "relay", "beat"),
}
ONE: Layout = {"server1": ("web", "workers", "relay", "beat", "postgresql", "redis")}
# A connection that is kept must not outlive a reboot of its host.
SSH = (
    "-o ControlMaster=auto -o ControlPersist=15s -o ServerAliveInterval=2 -o ServerAliveCountMax=3"
)


@dataclass
class Run:
    """What a command did. `changed` maps a host to the number of tasks that changed it."""

    returncode: int
    output: str
    changed: Mapping[str, int] = field(default_factory=dict)


class Site:
    """A project and its hosts. `folder` is the project; the inventory is called `test`."""

    def __init__(self, folder: Path, fleet: Fleet, layout: Layout) -> None:
        self.folder = folder
        self.fleet = fleet
        self.layout = layout
        self.environment = ansible.environment()
        link = folder / "deploy" / ".venv"
        if not link.is_symlink():
            link.symlink_to(self.environment)

    @property
    def hosts(self) -> Mapping[str, Host]:
        return self.fleet.hosts

    @property
    def inventory(self) -> Path:
        return self.folder / "deploy" / "inventories" / ENVIRONMENT

    @property
    def password_file(self) -> Path:
        return self.folder / "deploy" / ".vault" / ENVIRONMENT

    @property
    def slug(self) -> str:
        return self.folder.name

    def write_inventory(
        self,
        variables: Mapping[str, Mapping[str, object]] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Name the fleet's hosts, at their addresses.

        `variables` are some hosts' own; `groups` are further ones, and the hosts in them.
        """
        hosts = {}
        for name in self.layout:
            host = self.hosts[name]
            arguments = " ".join(host.ssh_options)
            hosts[name] = {
                "ansible_host": host.address,
                "ansible_user": "root",
                "ansible_ssh_common_args": arguments,
                **(variables or {}).get(name, {}),
            }
        layout: dict[str, Sequence[str]] = {
            group: [name for name, each in self.layout.items() if group in each]
            for group in ("web", "workers", "relay", "beat", "postgresql", "redis")
        }
        children = {
            group: {"hosts": dict.fromkeys(names)}
            for group, names in (layout | dict(groups or {})).items()
        }
        self.inventory.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump({"all": {"hosts": hosts, "children": children}})
        (self.inventory / "hosts.yml").write_text(text)

    def write_variables(self, **more: object) -> None:
        """Say what this environment has of its own."""
        production = self.inventory.with_name("production") / "group_vars/all/vars.yml"
        variables = yaml.safe_load(production.read_text()) | {
            "environment_name": ENVIRONMENT,
            "domain": DOMAIN,
            "nginx_certificate_file": str(self.folder / "deploy/.vault/certificate.pem"),
            # The kernel is the real machine's.
            "base_sysctl_apply": False,
            **more,
        }
        target = self.inventory / "group_vars/all/vars.yml"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(yaml.safe_dump(variables))

    def make_secrets(self) -> None:
        """Make a vault with `make secrets`, and put in what only a person can know."""
        (self.inventory / "group_vars/all").mkdir(parents=True, exist_ok=True)
        made = self.make("secrets")
        assert made.returncode == 0, made.output
        self.make_certificate()
        key = (self.password_file.parent / "key.pem").read_text()
        self.edit_secrets(
            {
                "vault_email_url": "submission://shop:mail-secret-of-the-test@mail.test:587",
                "vault_certificate_key": key,
            }
        )

    def make_certificate(self) -> None:
        folder = self.password_file.parent
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"),
                *("-subj", f"/CN={DOMAIN}", "-addext", f"subjectAltName=DNS:{DOMAIN}"),
                *("-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")),
            ],
            check=True,
            capture_output=True,
        )

    def edit_secrets(self, values: Mapping[str, str]) -> None:
        """Change values of the vault, as a person does with `make secrets` and an editor."""
        changes = self.password_file.parent / "changes.yml"
        changes.write_text(yaml.safe_dump(dict(values)))
        editor = self.password_file.parent / "editor.py"
        editor.write_text(
            "import sys, yaml\n"
            "vault, changes = (yaml.safe_load(open(path)) for path in sys.argv[2:0:-1])\n"
            "open(sys.argv[2], 'w').write(yaml.safe_dump(vault | changes))\n"
        )
        run = self.make("secrets", EDITOR=f"{sys.executable} {editor} {changes}")
        changes.unlink()
        assert run.returncode == 0, run.output

    def secrets(self) -> Mapping[str, str]:
        """Return what the vault holds."""
        vault = self.inventory / "group_vars/all/vault.yml"
        command = [str(self.environment / "bin/ansible-vault"), "view", str(vault)]
        command += ["--vault-password-file", str(self.password_file)]
        values: dict[str, str] = yaml.safe_load(subprocess.check_output(command, text=True))
        return values

    def make(self, target: str, *variables: str, **environment: str) -> Run:
        """Run `make TARGET ENV=test`, such as `make provision`."""
        return self._run(["make", target, f"ENV={ENVIRONMENT}", *variables], environment)

    def playbook(self, name: str, *arguments: str) -> Run:
        """Run a playbook by itself, such as `provision.yml`."""
        command = [str(self.environment / "bin/ansible-playbook"), "-i", str(self.inventory)]
        command += ["--vault-password-file", str(self.password_file), name, *arguments]
        return self._run(command, cwd="deploy")

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment of Ansible here."""
        return {
            "ANSIBLE_SSH_ARGS": SSH,
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.fleet.folder / "ssh"),
            "ANSIBLE_NOCOLOR": "1",
            "PYTHONWARNINGS": "",
        }

    def _run(
        self, command: list[str], environment: Mapping[str, str] | None = None, cwd: str = ""
    ) -> Run:
        completed = subprocess.run(
            command,
            check=False,
            cwd=self.folder / cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **self.variables, **(environment or {})},
        )
        recap = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", completed.stdout, re.MULTILINE)
        changed = {host: int(number) for host, number in recap}
        return Run(completed.returncode, completed.stdout, changed)


def new_site(project: Path, fleet: Fleet, layout: Layout) -> Site:
    """Return a project, copied, with an inventory and secrets, whose hosts are there but bare."""
    folder = fleet.folder / "project" / project.name
    shutil.copytree(project, folder, symlinks=True)
    site = Site(folder, fleet, layout)
    for name in layout:
        fleet.host(name).start()
    site.write_inventory()
    site.write_variables()
    site.make_secrets()
    return site
