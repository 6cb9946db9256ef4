"""Turn a process with namespaces of its own into a host: network, file system, then PID 1.

Started by fleet.py: boot.py ROOT NAME ADDRESS SHELF INIT OVERLAY. It says `ready` when its
namespaces exist, and waits for a line on its standard input: by then it has the device eth0.
"""

import ctypes
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# Capabilities that root of a host must not have: the clock, the modules and the power are the real
# machine's.
NOT_OURS = "-sys_time,-sys_module,-sys_boot"


def main(arguments: list[str]) -> None:
    folder, name, address, shelf, init, overlay = arguments
    root = Path(folder)
    print("ready", flush=True)
    # Unbuffered: what follows the line is for init.
    while os.read(0, 1) not in (b"\n", b""):
        pass
    socket.sethostname(name)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount("overlay", root, "overlay", 0, overlay)
    connect(address)
    devices(root / "dev")
    kernel(root)
    for folder, options in (("run", "mode=755"), ("tmp", "mode=1777")):
        mount("tmpfs", root / folder, "tmpfs", 0, options)
    (root / "run/lock").mkdir()
    (root / "run/sshd").mkdir()
    (root / "srv/test-hosts").mkdir(exist_ok=True)
    bind(shelf, root / "srv/test-hosts", read_only=True)
    (root / "etc/hostname").write_text(f"{name}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{address} {name}\n")
    shutil.copy(init, root / "run/init.py")
    enter(root)
    os.environ.clear()
    paths = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    os.environ.update(PATH=paths, HOME="/root", LANG="C.UTF-8")
    command = ("setpriv", "--bounding-set", NOT_OURS, "/usr/bin/python3", "/run/init.py")
    os.execvp(command[0], command)  # noqa: S606 - a list


def connect(address: str) -> None:
    # The same after a reboot, as a real card's: neighbours remember it.
    hardware = ":".join(f"{int(part):02x}" for part in ("2", "0", *address.split(".")))
    lines = (
        "link set lo up",
        f"link set eth0 address {hardware}",
        f"addr add {address}/24 dev eth0",
        "link set eth0 up",
    )
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def devices(dev: Path) -> None:
    mount("dev", dev, "tmpfs", 0, "mode=755,size=64k")
    for name in DEVICES:
        (dev / name).touch()
        bind(f"/dev/{name}", dev / name)
    for folder in ("pts", "shm"):
        (dev / folder).mkdir()
    mount("devpts", dev / "pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    mount("tmpfs", dev / "shm", "tmpfs", 0, "mode=1777")
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd"}
    links |= {name: f"fd/{number}" for number, name in enumerate(("stdin", "stdout", "stderr"))}
    for name, target in links.items():
        (dev / name).symlink_to(target)


def kernel(root: Path) -> None:
    """Show the kernel, but let no host change it: it is the real machine's."""
    mount("proc", root / "proc", "proc")
    bind(root / "proc/sys", root / "proc/sys", read_only=True)
    if (root / "proc/sysrq-trigger").exists():
        bind("/dev/null", root / "proc/sysrq-trigger")
    mount("sysfs", root / "sys", "sysfs", MS_RDONLY)


def enter(root: Path) -> None:
    (root / ".old").mkdir(exist_ok=True)
    os.chdir(root)
    subprocess.run(["pivot_root", ".", ".old"], check=True)
    os.chdir("/")
    if LIBC.umount2(b"/.old", MNT_DETACH):
        raise OSError(ctypes.get_errno(), "umount of the real machine's files")
    Path("/.old").rmdir()


def bind(source: str | Path, target: Path, *, read_only: bool = False) -> None:
    mount(source, target, None, MS_BIND)
    if read_only:
        mount(None, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def mount(
    source: str | Path | None,
    target: str | Path,
    kind: str | None,
    flags: int = 0,
    options: str | None = None,
) -> None:
    def encoded(text: str | Path | None) -> bytes | None:
        return None if text is None else os.fsencode(text)

    parts = (encoded(source), encoded(target), encoded(kind))
    if LIBC.mount(*parts, ctypes.c_ulong(flags), encoded(options)):
        raise OSError(ctypes.get_errno(), f"mount of {source} at {target}: {options}")


if __name__ == "__main__":
    main(sys.argv[1:])
