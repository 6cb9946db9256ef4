"""PID 1 of a test host: boot as sysv does, reap, shut down in order on TERM.

It ends at once, and everything with it, when its standard input closes: the tests that started the
host are gone.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

SCRIPT_SECONDS = 60
# Written to by signals, so that a wait for something ends with them.
WAKE, WOKEN = os.pipe()
asked_to_stop = False


def main() -> None:
    # Ansible then finds sysvinit.
    ctypes.CDLL(None).prctl(15, b"init", 0, 0, 0)
    for end in (WAKE, WOKEN):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(WOKEN)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for script in sorted(Path("/etc/rc2.d").glob("S*")):
        run(script, "start")
    Path("/run/booted").touch()
    while not asked_to_stop:
        reap()
        wait()
    for script in sorted(Path("/etc/rc0.d").glob("K*")):
        run(script, "stop")


def stop(*_: object) -> None:
    global asked_to_stop  # noqa: PLW0603 - a signal has no other way to say it
    asked_to_stop = True


def run(script: Path, action: str) -> None:
    # No stream of ours: a service would keep it.
    process = subprocess.Popen([str(script), action], stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + SCRIPT_SECONDS
    # A daemon that ended must be reaped meanwhile, or the script waits for it in vain.
    while process.pid not in reap():
        if time.monotonic() > deadline:
            print(f"{script} {action} took more than {SCRIPT_SECONDS} s", flush=True)
            process.kill()
        wait(1)
    process.returncode = 0


def reap() -> set[int]:
    """Take leave of all that has ended, and return their process ids."""
    ended = set()
    try:
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            ended.add(pid)
    except ChildProcessError:
        pass
    return ended


def wait(seconds: float | None = None) -> None:
    """Return after a signal, or after that time."""
    readable, _, _ = select.select([WAKE, sys.stdin], [], [], seconds)
    if sys.stdin in readable:
        sys.exit("The tests that started this host are gone.")
    if WAKE in readable:
        os.read(WAKE, 1024)


main()
