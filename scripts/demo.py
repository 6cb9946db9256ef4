"""`make demo`: generate the default project, start all of it, and follow orders through its queues.

The project stays in build/demo: the next demo finds its data.
"""

import argparse
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "build" / "demo" / "my_shop"
PYTHON = ".venv/bin/python"

READY_WITHIN = 120.0


class Stopped(Exception):  # noqa: N818 - a request, not an error
    """TERM or INT arrived."""


def main() -> int:
    """Return the exit status; every process has ended by then."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", default="8000", help="of the site on 127.0.0.1")
    parser.add_argument("--orders", default="5", help="how many to place")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)

    started = time.monotonic()
    development = None
    try:
        generate()
        development = Development(arguments.port)
        address = development.wait_until_ready()
        password = manage("superuser")
        say(f"placing {arguments.orders} orders at {address}")
        subprocess.run(
            [PYTHON, "manage.py", "place_orders", "--url", address, "--count", arguments.orders],
            cwd=PROJECT,
            check=True,
        )
        say(f"{time.monotonic() - started:.1f} s from the start to the last order")
        say(f"products {address}  orders {address}orders/  admin {address}admin/")
        for line in password.splitlines():
            say(line)
        say(f"the project is {PROJECT.relative_to(ROOT)}: edit it and watch it reload; Ctrl-C ends")
        return development.process.wait()
    except Stopped:
        return 0
    except subprocess.CalledProcessError as error:
        say(f"error: `{' '.join(map(str, error.cmd))}` failed (exit status {error.returncode})")
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if development:
            development.stop()


class Development:
    """`make dev` of the project, its lines shown as they come."""

    def __init__(self, port: str) -> None:
        self.address = ""
        self.process = subprocess.Popen(
            [PYTHON, "-u", "manage.py", "dev", "--port", port],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            text=True,
            # A Ctrl-C shall reach this script alone, which then stops the rest in order.
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self._show, daemon=True)
        self.reader.start()

    def wait_until_ready(self) -> str:
        """Return the site's address."""
        deadline = time.monotonic() + READY_WITHIN
        while not self.address:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise subprocess.CalledProcessError(self.process.poll() or 1, ["make", "dev"])
            time.sleep(0.1)
        return self.address

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.reader.join()

    def _show(self) -> None:
        for line in self.process.stdout or ():
            print(line, end="", flush=True)
            if found := re.search(r"the site is at (\S+)", line):
                self.address = found[1]


def generate() -> None:
    """Generate the project and install what it needs, unless a demo did so before."""
    if not PROJECT.exists():
        say(f"generating {PROJECT.relative_to(ROOT)}")
        PROJECT.parent.mkdir(parents=True, exist_ok=True)
        cookiecutter(str(ROOT), no_input=True, output_dir=str(PROJECT.parent), default_config=True)
    say("installing its packages")
    subprocess.run(
        ["make", "--no-print-directory", "install", ".env", f"PYTHON={sys.executable}"],
        cwd=PROJECT,
        check=True,
    )


def manage(*arguments: str) -> str:
    """Run one of the project's commands, and return what it printed."""
    return subprocess.check_output([PYTHON, "manage.py", *arguments], cwd=PROJECT, text=True)


def say(text: str) -> None:
    print(f"{'demo':<15} | {text}", flush=True)


def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise Stopped


if __name__ == "__main__":
    sys.exit(main())
