"""What all hosts share, built once: a Debian base, its packages and the project's wheels.

Kept by a hash of what it is made from, so that a second run takes no time. The hosts have no way
out of this machine: they install from here.
"""

import fcntl
import hashlib
import inspect
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hosts.boot import NOT_OURS

HERE = Path(__file__).parent
PROJECT = HERE.parents[1] / "<<cookiecutter.project_slug>>"
# What a host installs with pip.
REQUIREMENTS = ("production.txt", "supervisor.txt")
# Where a host finds packages and wheels.
SHELF = Path("/srv/test-hosts")
UNUSED = 7 * 86400
# Releases of Ubuntu, whose packages stand in two parts and are signed by a key of its own.
UBUNTU = ("noble",)
UBUNTU_KEY = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")
BASE_PACKAGES = "openssh-server,python3,python3-apt,iproute2,ca-certificates,procps"
TOOLS = {
    "debootstrap": "debootstrap",
    "apt-ftparchive": "apt-utils",
    "ssh": "openssh-client",
    "ip": "iproute2",
    "unshare": "util-linux",
    "systemd-analyze": "systemd",
}


class Run(Protocol):
    def __call__(self, *command: str | Path, **environment: str) -> None: ...


class HostsError(Exception):
    """Hosts cannot be made or reached here; the message says what to do."""


@dataclass(frozen=True)
class Foundation:
    """Folders below the cache, never written to after they are built."""

    folder: Path

    @property
    def base(self) -> Path:
        """The root file system of a minimal Debian with sshd and Python."""
        return self.folder / "base"

    @property
    def shelf(self) -> Path:
        """`packages/`, an apt repository, and `wheels/`."""
        return self.folder / "shelf"

    @property
    def ssh_key(self) -> Path:
        """The private key that root of each host accepts."""
        return self.folder / "ssh" / "key"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "ssh" / "known_hosts"


def cache() -> Path:
    """Return HOSTS_CACHE, or a folder in the account's cache, whatever HOME a test has set."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    default = Path(os.environ.get("XDG_CACHE_HOME", home / ".cache")) / "reliable-celery-hosts"
    return Path(os.environ.get("HOSTS_CACHE", default)).absolute()


def prepare() -> Foundation:
    """Return the foundation for HOSTS_SUITE; building it takes two minutes, once.

    Raises HostsError where this machine cannot have hosts.
    """
    suite = os.environ.get("HOSTS_SUITE", "bookworm")
    _require()
    folder = cache() / f"{suite}-{_key()}"
    with locked(cache() / "build.lock"):
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True, mode=0o755)
            _build(Foundation(unfinished), suite)
            unfinished.rename(folder)
            _forget_unused()
        os.utime(folder)
    return Foundation(folder)


def _forget_unused() -> None:
    """Another checkout may need one that this one does not: what nobody used for a week goes."""
    for folder in [*cache().glob("*-*"), *(cache() / "golden").glob("*")]:
        if folder.is_dir() and time.time() - folder.stat().st_mtime > UNUSED:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes, for example two sessions of tests."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _require() -> None:
    if os.geteuid() != 0:
        raise HostsError(
            "Test hosts need root, for mounts and network namespaces: sudo make test-hosts"
        )
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise HostsError(f"Test hosts need: apt-get install {' '.join(missing)}")


def _key() -> str:
    builders = (_build, _debootstrap, _fetch_packages, _fetch_wheels, _finish_base)
    made_from = [BASE_PACKAGES, *(inspect.getsource(each) for each in builders)]
    made_from += [(HERE / "packages.txt").read_text()]
    made_from += [(PROJECT / "requirements" / name).read_text() for name in REQUIREMENTS]
    return hashlib.sha256("\0".join(made_from).encode()).hexdigest()[:12]


def _build(foundation: Foundation, suite: str) -> None:
    base, shelf = foundation.base, foundation.shelf
    log = foundation.folder / "build.log"
    print(f"Building {suite} for test hosts, once: 2 minutes. Log: {log}", flush=True)
    with log.open("w") as output:

        def run(*command: str | Path, **environment: str) -> None:
            completed = subprocess.run(
                # Scripts of packages run as root: not with power over this machine.
                ["setpriv", "--bounding-set", NOT_OURS, *(str(part) for part in command)],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
            )
            if completed.returncode:
                output.flush()
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise HostsError(f"{command[0]} failed; {log} ends with:\n{tail}")

        run(*_debootstrap(suite, base))
        # Packages and wheels are fetched in a copy, by the clients and the Python of a host.
        scratch = foundation.folder / "scratch"
        run("cp", "--archive", base, scratch)
        _fetch_packages(scratch, shelf / "packages", run)
        _fetch_wheels(scratch, shelf / "wheels", run)
        shutil.rmtree(scratch)
        _finish_base(foundation, run)


def _debootstrap(suite: str, base: Path) -> list[str]:
    """Return the command that unpacks a release, its signature checked."""
    options: list[str] = []
    script: list[str] = []
    if suite in UBUNTU:
        if not UBUNTU_KEY.exists():
            raise HostsError(f"Hosts of Ubuntu {suite} need: apt-get install ubuntu-keyring")
        options = ["--components=main,universe", f"--keyring={UBUNTU_KEY}"]
        # Debian's debootstrap knows releases by name that are older than itself; all are alike.
        script = ["/usr/share/debootstrap/scripts/gutsy"]
    options += ["--variant=minbase", f"--include={BASE_PACKAGES}"]
    mirror = os.environ.get("HOSTS_MIRROR") or _mirror()
    return ["debootstrap", *options, suite, str(base), mirror, *script]


def _mirror() -> str:
    """Return where this machine's own Debian packages come from."""
    listing = subprocess.check_output(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN)", "Identifier: Packages"],
        text=True,
    )
    for line in listing.splitlines():
        address, _, origin = line.partition(" ")
        if origin == "Debian" and "security" not in address:
            return address.rstrip("/")
    raise HostsError("apt knows no Debian mirror here; run apt-get update, or add one.")


def _fetch_packages(scratch: Path, store: Path, run: Run) -> None:
    lines = (HERE / "packages.txt").read_text().splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    install = ("chroot", scratch, "apt-get", "install", "--yes", "--no-install-recommends")
    shutil.copy("/etc/resolv.conf", scratch / "etc/resolv.conf")
    run("chroot", scratch, "apt-get", "update")
    run(*install, "--download-only", *packages)
    store.mkdir(parents=True)
    for package in (scratch / "var/cache/apt/archives").glob("*.deb"):
        shutil.copy(package, store)
    script = "apt-ftparchive packages . > Packages; apt-ftparchive release . > Release"
    run("sh", "-ec", f"cd '{store}'; {script}")
    run(*install, "python3-venv", DEBIAN_FRONTEND="noninteractive")


def _fetch_wheels(scratch: Path, wheels: Path, run: Run) -> None:
    """Download what the requirements name, hashes checked, as a host's Python would choose."""
    # A machine behind a proxy trusts its own authority.
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", scratch / "etc/ssl/certs")
    run("chroot", scratch, "python3", "-m", "venv", "/tool")
    target = scratch / "wheels"
    for name in REQUIREMENTS:
        shutil.copy(PROJECT / "requirements" / name, scratch / name)
        run(
            *("chroot", scratch, "/tool/bin/pip", "download", "--only-binary=:all:"),
            *("--require-hashes", f"--requirement=/{name}", "--dest=/wheels"),
            PIP_FIND_LINKS="",
            PIP_CONFIG_FILE=os.devnull,
        )
    shutil.copytree(target, wheels)


def _finish_base(foundation: Foundation, run: Run) -> None:
    base, key = foundation.base, foundation.ssh_key
    (base / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{SHELF}/packages ./\n")
    (base / "etc/pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {SHELF}/wheels\n")
    (base / "etc/resolv.conf").write_text("")
    lists = base / "var/lib/apt/lists"
    shutil.rmtree(lists)
    (lists / "partial").mkdir(parents=True)
    # Else `apt: cache_valid_time` takes the empty folder for an update that was just made.
    os.utime(lists, (0, 0))
    key.parent.mkdir(mode=0o700)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    authorized = base / "root/.ssh/authorized_keys"
    authorized.parent.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(key.with_suffix(".pub"), authorized)
    host_key = (base / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
    foundation.known_hosts.write_text(f"* {' '.join(host_key)}\n")
