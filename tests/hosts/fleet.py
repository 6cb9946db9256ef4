"""Hosts: started in under a second, rebooted, killed, and gone without a trace.

A host is one process tree with a mount, network, PID, UTS and IPC namespace of its own, an overlay
over the shared base, sshd, and a PID 1 that boots as sysv does. Nothing of it has a name outside
but a pair of network devices, so that the end of the tree is the end of the host; and the tree ends
with the process that started it, however that ends.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from hosts.boot import NOT_OURS
from hosts.foundation import HERE, Foundation, HostsError, cache

NETWORKS = 64
NAMESPACES = ("--mount", "--net", "--pid", "--uts", "--ipc")
# Seconds for a boot on a machine that is busy with something else.
BOOT = 30


class Fleet:
    """Hosts that see each other and this machine, and nothing else.

    Several fleets may run side by side, in one process or in several: each has its own network.
    """

    def __init__(self, foundation: Foundation) -> None:
        self.foundation = foundation
        self.hosts: dict[str, Host] = {}
        self._number, self._lock = _free_network()
        self.bridge = f"thbr{self._number}"
        self.folder = _folder(self._number)
        _ip("link", "add", self.bridge, "type", "bridge")
        _ip("addr", "add", f"{self.address(1)}/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")

    def address(self, number: int) -> str:
        return f"10.91.{self._number}.{number}"

    def host(self, name: str, *layers: Path) -> "Host":
        """Return a new host that is not yet started; `layers` lie over the base, the first on top.

        Raises HostsError if there is one of this name.
        """
        if name in self.hosts:
            raise HostsError(f"There is a host {name} already.")
        taken = {host.address for host in self.hosts.values()}
        address = next(each for each in map(self.address, range(11, 255)) if each not in taken)
        host = Host(self, name, address, layers)
        self.hosts[name] = host
        return host

    def close(self) -> None:
        """Destroy all hosts and the network."""
        for host in list(self.hosts.values()):
            host.destroy()
        _ip("link", "delete", self.bridge)
        shutil.rmtree(self.folder)
        self._lock.close()


class Host:
    """One host. Its files stay over stop, kill and reboot, until `destroy`."""

    def __init__(self, fleet: Fleet, name: str, address: str, layers: Sequence[Path]) -> None:
        self.fleet = fleet
        self.name = name
        self.address = address
        self.folder = fleet.folder / name
        self.lower = [*layers, fleet.foundation.base]
        for part in ("upper", "work", "root"):
            (self.folder / part).mkdir(parents=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def upper(self) -> Path:
        """What differs from the layers below: copy it while the host is down for a new layer."""
        return self.folder / "upper"

    @property
    def console(self) -> str:
        """What booting and shutting down printed."""
        return (self.folder / "console.log").read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def init(self) -> int:
        """The process id of the host's PID 1, as this machine numbers it; it changes at a boot."""
        if not self.running or self._process is None:
            raise HostsError(f"{self.name} is not running.")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return int(children.read_text())

    def start(self) -> "Host":
        """Boot, and return when every service has been started and sshd answers.

        Raises HostsError, with the console, if that takes too long.
        """
        if self.running:
            raise HostsError(f"{self.name} is running already.")
        layers = ":".join(map(str, self.lower))
        overlay = f"lowerdir={layers},upperdir={self.upper},workdir={self.folder / 'work'}"
        boot = [sys.executable, str(HERE / "boot.py"), str(self.folder / "root"), self.name]
        boot += [self.address, str(self.fleet.foundation.shelf), str(HERE / "init.py"), overlay]
        with (self.folder / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                ["unshare", *NAMESPACES, "--fork", "--kill-child", *boot],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                # A Ctrl-C is for the tests alone.
                start_new_session=True,
            )
        self._plug_in(self._process)
        self.wait(self._booted, "has not booted", BOOT)
        return self

    def _plug_in(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is None or process.stdin is None or process.stdout.readline() == b"":
            raise HostsError(f"{self.name} did not get its namespaces:\n{self.console}")
        device = self.device
        self._unplug_for_good()
        peer = ("peer", "name", "eth0", "netns", str(process.pid))
        _ip("link", "add", device, "type", "veth", *peer)
        _ip("link", "set", device, "master", self.fleet.bridge, "up")
        process.stdin.write(b"\n")
        process.stdin.flush()

    @property
    def device(self) -> str:
        """The real machine's end of the host's cable."""
        number = self.address.rpartition(".")[2]
        return f"{self.fleet.bridge}-{number}"

    def _booted(self) -> bool:
        if not self.running:
            raise HostsError(f"{self.name} ended while it booted:\n{self.console}")
        try:
            socket.create_connection((self.address, 22), timeout=1).close()
        except OSError:
            return False
        return self.run("test", "-e", "/run/booted", check=False).returncode == 0

    def stop(self, timeout: float = 120) -> None:
        """Shut down: services get their stop. Raises HostsError after `timeout` seconds."""
        if not self.running or self._process is None:
            return
        os.kill(self.init, signal.SIGTERM)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise HostsError(
                f"{self.name} did not shut down in {timeout:g} s:\n{self.console}"
            ) from error
        self._release()

    def kill(self) -> None:
        """End every process at once, as a power cut does; what was written stays written."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._release()

    def _unplug_for_good(self) -> None:
        # It disappears with the namespace, but a moment later; or between two looks at it.
        subprocess.run(["ip", "link", "delete", self.device], check=False, capture_output=True)

    def _release(self) -> None:
        self._unplug_for_good()
        if self._process is not None:
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
        self._process = None

    def reboot(self) -> None:
        self.stop()
        self.start()

    def destroy(self) -> None:
        """End the host, and delete its files."""
        self.kill()
        # The last mounts disappear a moment after the last process.
        _wait(lambda: _removed(self.folder), f"{self.folder} cannot be deleted", BOOT)
        self.fleet.hosts.pop(self.name, None)

    def unplug(self) -> None:
        """Cut the host off from the network; it keeps running."""
        _ip("link", "set", self.device, "down")

    def plug(self) -> None:
        _ip("link", "set", self.device, "up")

    def run(
        self,
        *command: str,
        user: str = "root",
        stdin: str = "",
        check: bool = True,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the host, without ssh; its output is text.

        Raises HostsError with the output if it fails and `check` is true.
        """
        completed = subprocess.run(
            self._inside(user, command),
            check=False,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and completed.returncode:
            output = completed.stdout + completed.stderr
            raise HostsError(f"{self.name}: {' '.join(command)}: {completed.returncode}\n{output}")
        return completed

    def _inside(self, user: str, command: Sequence[str]) -> list[str]:
        parts = ("--mount", "--net", "--pid", "--uts", "--ipc", "--root", "--wd")
        inside = ["nsenter", "--target", str(self.init), *parts, "/usr/bin/env", "-i"]
        inside += ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root"]
        # Who enters from outside would else keep power over the real machine.
        inside += ["setpriv", "--bounding-set", NOT_OURS]
        if user != "root":
            inside += ["runuser", "-u", user, "--"]
        return [*inside, *command]

    def copy(self, source: Path, target: str) -> None:
        """Copy what is in a folder of this machine into one of the host, owned by root."""
        self.run("mkdir", "-p", target)
        extract = self._inside("root", ("tar", "-x", "--no-same-owner", "-C", target))
        with subprocess.Popen(["tar", "-c", "-C", source, "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(extract, check=True, stdin=tar.stdout)

    def read(self, path: str) -> str:
        return self.run("cat", path).stdout

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, stdin=text)

    def ssh(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as Ansible does."""
        whole = ["ssh", *self.ssh_options, f"root@{self.address}", *command]
        return subprocess.run(whole, check=True, capture_output=True, text=True)

    @property
    def ssh_options(self) -> list[str]:
        foundation = self.fleet.foundation
        return [
            *("-F", os.devnull, "-i", str(foundation.ssh_key)),
            *("-o", f"UserKnownHostsFile={foundation.known_hosts}"),
            *("-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
        ]

    def wait(self, condition: Callable[[], bool], why: str, seconds: float = 30) -> None:
        """Wait until the condition holds. Raises HostsError, with `why`, after `seconds`."""
        try:
            _wait(condition, why, seconds)
        except TimeoutError as error:
            raise HostsError(f"{self.name} {error}\n{self.console}") from None


def _wait(condition: Callable[[], bool], why: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{why} within {seconds:g} s")
        time.sleep(0.02)


def _removed(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def _free_network() -> tuple[int, IO[str]]:
    """Take a network that no other fleet of this machine has; what a killed one left is removed."""
    for number in range(NETWORKS):
        path = Path(tempfile.gettempdir(), f"test-hosts-{number}.lock")
        lock = path.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        if Path("/sys/class/net", f"thbr{number}").exists():
            _ip("link", "delete", f"thbr{number}")
        return number, lock
    raise HostsError(f"All {NETWORKS} networks for test hosts are in use.")


def _folder(number: int) -> Path:
    # Not below /tmp: an overlay's upper layer needs a real file system.
    folder = cache() / "running" / str(number)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _ip(*arguments: str) -> None:
    completed = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if completed.returncode:
        raise HostsError(f"ip {' '.join(arguments)}: {completed.stderr.strip()}")
