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
from pathlib import Path

SHUTDOWN_SECONDS = 60


def main() -> None:
    # Ansible then finds sysvinit.
    ctypes.CDLL(None).prctl(15, b"init", 0, 0, 0)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for script in sorted(Path("/etc/rc2.d").glob("S*")):
        run(script, "start")
    Path("/run/booted").touch()
    while True:
        readable, _, _ = select.select([wake, sys.stdin], [], [])
        if sys.stdin in readable:
            sys.exit("The tests that started this host are gone.")
        received = os.read(wake, 64)
        reap()
        if signal.SIGTERM in received:
            break
    for script in sorted(Path("/etc/rc0.d").glob("K*")):
        run(script, "stop")


def run(script: Path, action: str) -> None:
    try:
        # No stream of ours: a service would keep it.
        subprocess.run(
            [str(script), action],
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=SHUTDOWN_SECONDS,
        )
    except subprocess.TimeoutExpired:
        print(f"{script} {action} took more than {SHUTDOWN_SECONDS} s", flush=True)


def reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


main()
