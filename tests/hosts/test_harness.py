"""The hosts themselves."""

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hosts.fleet import Fleet
from hosts.foundation import Foundation, HostsError

pytestmark = pytest.mark.hosts

STATUS = ("cat", "/proc/self/status")
CAP_SYS_MODULE, CAP_SYS_BOOT, CAP_SYS_TIME = 16, 22, 25

COUNTER = """\
#!/bin/sh
### BEGIN INIT INFO
# Provides: counter
# Default-Start: 2
# Default-Stop: 0
### END INIT INFO
echo "$1" >> /var/lib/counter
"""


Namespaces = frozenset[str]


def namespaces(pid: int | str) -> Namespaces:
    """The namespaces that a process is in and we are not, such as `net:[4026532279]`."""

    def seen(pid: int | str) -> Namespaces:
        try:
            return frozenset(str(path.readlink()) for path in Path(f"/proc/{pid}/ns").iterdir())
        except OSError:  # it has just ended
            return frozenset()

    return seen(pid) - seen("self")


def nothing_is_left(folder: Path, bridge: str, of: Namespaces) -> None:
    """No process in the namespaces, no mount, no device. They end a moment after their PID 1."""

    def traces() -> list[str]:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        devices = [path.name for path in Path("/sys/class/net").iterdir()]
        processes = [path.name for path in Path("/proc").glob("[0-9]*")]
        return [
            *(line for line in mounts if str(folder) in line),
            *(name for name in devices if name.startswith(f"{bridge}-")),
            *(pid for pid in processes if namespaces(pid) & of),
        ]

    deadline = time.monotonic() + 10
    while traces():
        assert time.monotonic() < deadline, traces()
        time.sleep(0.05)


def test_hosts_see_each_other_and_nothing_else(fleet: Fleet) -> None:
    first, second = fleet.host("first").start(), fleet.host("second").start()
    connect = "import socket, sys; socket.create_connection((sys.argv[1], 22), timeout=2)"
    first.run("python3", "-c", connect, second.address)
    assert first.run("ip", "route").stdout.startswith(f"{fleet.address(0)}/24 dev eth0")
    outside = first.run("python3", "-c", connect, "192.0.2.1", check=False)
    assert "Network is unreachable" in outside.stderr
    assert first.run("hostname").stdout == "first\n"
    assert "init" in first.ssh("cat", "/proc/1/comm").stdout


def test_a_host_cannot_change_the_real_machine(fleet: Fleet) -> None:
    host = fleet.host("contained").start()
    for path in ("/proc/sys/kernel/hostname", "/sys/class/net/lo/mtu", "/srv/test-hosts/mark"):
        refused = host.run("sh", "-c", f"echo 1 > {path}", check=False)
        assert "Read-only file system" in refused.stderr, path
    # A bind of /dev/null, or a kernel without it.
    host.run("sh", "-c", "test ! -e /proc/sysrq-trigger || echo b > /proc/sysrq-trigger")
    # Read, never tried: a mistake here would set the clock for everyone on the machine.
    for output in (host.run(*STATUS).stdout, host.ssh(*STATUS).stdout, host.read("/proc/1/status")):
        [capabilities] = re.findall(r"^CapEff:\t(\w+)$", output, re.MULTILINE)
        forbidden = sum(2**number for number in (CAP_SYS_MODULE, CAP_SYS_BOOT, CAP_SYS_TIME))
        assert int(capabilities, 16) & forbidden == 0
    assert not Path("/.old").exists()


def test_a_reboot_stops_and_starts_services_and_keeps_files(fleet: Fleet) -> None:
    host = fleet.host("rebooted").start()
    host.write("/etc/init.d/counter", COUNTER, mode="0755")
    host.run("ln", "-s", "../init.d/counter", "/etc/rc2.d/S50counter")
    host.run("ln", "-s", "../init.d/counter", "/etc/rc0.d/K50counter")
    host.write("/run/forgotten", "")
    host.reboot()
    assert host.read("/var/lib/counter") == "stop\nstart\n"
    assert host.run("test", "-e", "/run/forgotten", check=False).returncode == 1
    host.kill()
    host.start()
    assert host.read("/var/lib/counter") == "stop\nstart\nstart\n"


def test_a_provisioned_host_is_a_layer_under_others(fleet: Fleet, tmp_path: Path) -> None:
    golden = fleet.host("golden").start()
    golden.write("/etc/mark", "made once")
    golden.run("rm", "/etc/issue")
    golden.stop()
    layer = tmp_path / "layer"
    subprocess.run(["cp", "--archive", golden.upper, layer], check=True)
    clone = fleet.host("clone", layer).start()
    assert clone.read("/etc/mark") == "made once"
    assert clone.run("test", "-e", "/etc/issue", check=False).returncode == 1


def test_a_host_that_is_unplugged_runs_on_unseen(fleet: Fleet) -> None:
    host = fleet.host("lonely").start()
    host.unplug()
    with pytest.raises(OSError, match=r"timed out|No route"):
        socket.create_connection((host.address, 22), timeout=1)
    assert host.run("true").returncode == 0
    host.plug()
    host.wait(lambda: host.ssh("true").returncode == 0, "does not answer after it was plugged in")


def test_a_command_that_fails_says_where_and_how(fleet: Fleet) -> None:
    host = fleet.host("failing").start()
    with pytest.raises(HostsError, match=r"failing: ls /missing: 2\n.*No such file"):
        host.run("ls", "/missing")
    with pytest.raises(HostsError, match="There is a host failing already"):
        fleet.host("failing")


@pytest.mark.parametrize("end", ["stop", "kill", "destroy"])
def test_a_host_that_ended_leaves_nothing(fleet: Fleet, end: str) -> None:
    host = fleet.host("short").start()
    host.run("sh", "-c", "setsid sleep 1000 > /dev/null 2>&1 &")
    spaces = namespaces(host.init)
    assert len(spaces) >= 5
    getattr(host, end)()
    nothing_is_left(fleet.folder, fleet.bridge, spaces)


def test_hosts_end_with_the_process_that_started_them(foundation: Foundation) -> None:
    """Also when it was killed; a later fleet takes its network over."""
    script = (
        "import pathlib, sys;"
        "from hosts.fleet import Fleet; from hosts.foundation import Foundation;"
        "fleet = Fleet(Foundation(pathlib.Path(sys.argv[1]))); host = fleet.host('x').start();"
        "print(fleet.folder, fleet.bridge, host.init, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(foundation.folder)]
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        folder, bridge, init = parent.stdout.readline().split()
        spaces = namespaces(init)
        assert len(spaces) >= 5
        parent.kill()
    nothing_is_left(Path(folder), "none", spaces)
    successor = Fleet(foundation)
    assert successor.bridge == bridge
    successor.close()
    nothing_is_left(Path(folder), bridge, spaces)
