"""A site on which releases are deployed: commits, deploys, and what runs after them."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hosts import commits, load
from hosts.fleet import Host
from hosts.golden import Recipe, provision
from hosts.site import DOMAIN, Run, Site


class Deploys:
    """`make deploy`, `make rollback` and `make status` on a site, and questions to its hosts."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.domain = DOMAIN
        self.write_inventory()
        if not (site.folder / ".git").exists():
            commits.begin(site.folder)

    def write_inventory(self) -> None:
        """Name the hosts as all tests of deploys want them."""
        # Long tasks of several visitors run at once.
        self.site.write_inventory({"worker1": {"concurrency": {"slow": 8, "default": 3}}})

    @property
    def web(self) -> list[Host]:
        return self.of("web")

    @property
    def data(self) -> Host:
        return self.of("postgresql")[0]

    @property
    def app_hosts(self) -> list[Host]:
        groups = {"web", "workers", "relay", "beat"}
        return [
            host for name, host in self.site.hosts.items() if groups & {*self.site.layout[name]}
        ]

    def of(self, group: str) -> list[Host]:
        return [host for name, host in self.site.hosts.items() if group in self.site.layout[name]]

    # --- Deploying -------------------------------------------------------------------------------

    def commit(self, message: str, edits: Mapping[str, str | None] | None = None) -> str:
        """A commit, by default one that changes nothing that runs; the name of its release."""
        return commits.commit(self.site.folder, message, edits)

    def deploy(self, *variables: str) -> Run:
        return self.site.make("deploy", *variables)

    def deployed(self, *variables: str) -> Run:
        """A deploy that must succeed."""
        run = self.deploy(*variables)
        assert run.returncode == 0, run.output[-6000:]
        return run

    @contextmanager
    def deploying(self, *arguments: str) -> Iterator["Playbook"]:
        """A deploy that runs meanwhile; it is killed at the end if it still does."""
        playbook = Playbook(self.site, "deploy.yml", *arguments)
        try:
            yield playbook
        finally:
            playbook.kill()

    # --- Looking ---------------------------------------------------------------------------------

    def records(self, host: Host | None = None) -> dict[str, dict[str, Any]]:
        """Deploy id to record, as a host keeps it."""
        host = host or self.app_hosts[0]
        code = (
            "import json, pathlib; print(json.dumps({path.stem: json.loads(path.read_text())"
            f" for path in sorted(pathlib.Path('/srv/{self.site.slug}/deploys').glob('*.json'))}}))"
        )
        records: dict[str, dict[str, Any]] = json.loads(host.run("python3", "-c", code).stdout)
        return records

    def generations(self, host: Host) -> dict[str, dict[str, str]]:
        """Deploy id to program to state, as the host's supervisord says."""
        command = (
            "/opt/supervisor/bin/supervisorctl",
            f"--serverurl=unix:///srv/{self.site.slug}/run/supervisor.sock",
            "status",
        )
        found: dict[str, dict[str, str]] = {}
        # It exits with 3 if a program does not run.
        for line in host.run(*command, check=False).stdout.splitlines():
            if match := re.match(r"generation-([^:]+):(\S+)\s+(\w+)", line):
                found.setdefault(match[1], {})[match[2]] = match[3]
        return found

    def everywhere(self) -> set[str]:
        """The deploy ids of all generations on all hosts."""
        return {deploy for host in self.app_hosts for deploy in self.generations(host)}

    def current(self, host: Host) -> str:
        return (
            host.run("readlink", f"/srv/{self.site.slug}/current").stdout.strip().rpartition("/")[2]
        )

    def lock(self, host: Host) -> str:
        return host.run("cat", f"/srv/{self.site.slug}/lock", check=False).stdout

    def ask(self, **asked: float) -> dict[str, Any]:
        return load.ask(self.web[0], self.domain, asked)

    def runs(self) -> bool:
        """Whether each web host answers, and every program of each host runs."""
        generations = [self.generations(host) for host in self.app_hosts]
        programs = [
            state for each in generations for one in each.values() for state in one.values()
        ]
        return all(generations) and {*programs} == {"RUNNING"} and self.serves()

    def serves(self) -> bool:
        """Whether each web host answers."""
        try:
            return all(load.ask(host, self.domain, {}) for host in self.web)
        except (OSError, ValueError):
            return False

    def counts(self) -> dict[str, load.Count]:
        return load.counts(self.data, self.site.slug)

    def settled(self, seconds: float = 60) -> dict[str, load.Count]:
        return load.settled(self.data, self.site.slug, seconds)

    def query(self, sql: str) -> list[list[str]]:
        return load.query(self.data, self.site.slug, sql)

    def begun_by(self, task: str) -> list[str]:
        """The releases that began a task, one for each time."""
        return self._releases(task, "begun")

    def ended_by(self, task: str) -> list[str]:
        """The releases that ended a task, one for each time."""
        return self._releases(task, "ended")

    def _releases(self, task: str, event: str) -> list[str]:
        sql = f"SELECT release FROM drill_effect WHERE task = '{task}' AND event = '{event}'"  # noqa: S608
        return [release for [release] in self.query(sql)]

    def free(self, task: str) -> None:
        """Let a task end that waits for it."""
        self.query(
            "INSERT INTO drill_effect (task, kind, event, release, at)"  # noqa: S608
            f" VALUES ('{task}', 'freed', 'freed', '', now())"
        )


def deploy_first(site: Site) -> None:
    """Provision a site and deploy the first release, in which the drill is."""
    provision(site)
    Deploys(site).deployed()


DEPLOYED = Recipe("deployed", deploy_first)


class Playbook:
    """A playbook that runs in the background, in a session of its own, so that it can be killed."""

    def __init__(self, site: Site, name: str, *arguments: str) -> None:
        self.log = site.fleet.folder / f"{name}.log"
        command = [str(site.environment / "bin/ansible-playbook"), "-i", str(site.inventory)]
        command += ["--vault-password-file", str(site.password_file), name, *arguments]
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                command,
                cwd=site.folder / "deploy",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **site.variables},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def reached(self, text: str, seconds: float = 900) -> None:
        """Wait until it has printed `text`."""
        wait(lambda: text in self.output or self.ended, f"did not print {text!r}", seconds)
        assert text in self.output, self.output[-4000:]

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def kill(self) -> None:
        """End it at once, with all that it forked: a lost connection, a closed laptop."""
        if not self.ended:
            # Each of Ansible's workers is in a session of its own.
            for process in [self.process.pid, *_descendants(self.process.pid)]:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        self.process.wait()


def _descendants(process: int) -> list[int]:
    listing = subprocess.check_output(["ps", "-eo", "ppid=,pid="], text=True)
    children: dict[int, list[int]] = {}
    for line in listing.splitlines():
        parent, child = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found = list(children.get(process, []))
    for each in found:
        found += children.get(each, [])
    return found


def wait(condition: Callable[[], bool], why: str, seconds: float) -> None:
    """Wait until the condition holds. Raises AssertionError, with `why`, after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{why} within {seconds:g} s"
        time.sleep(0.2)


def hook(folder: Path, step: str, tasks: str) -> Path:
    """Let a deploy run `tasks` before a step; not committed, as the controller's own files."""
    path = folder / "deploy" / "hooks" / f"before_{step}.yml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(tasks)
    return path
