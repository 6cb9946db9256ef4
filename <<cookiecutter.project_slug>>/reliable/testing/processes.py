"""Processes that a test starts, hurts and ends; each in a process group of its own."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from reliable.testing.waiting import wait_until

# Its value says which test, or which run, a process belongs to; children inherit it.
MARKER = "RELIABLE_TEST"


class Process:
    """One named process with its log.

    TERM, KILL, freezing and thawing go to the process itself, as they do in life; `freeze` and
    `thaw` take `tree=True` to reach its children too.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        log: Path,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.environment = dict(environment)
        self.directory = directory
        self.log = log
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self) -> "Process":
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        if self.popen is None:
            raise AssertionError(f"{self.name} was not started")
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def lines(self) -> list[str]:
        """The lines of the log, but for a last one that is half written."""
        return self.output.rpartition("\n")[0].splitlines()

    def children(self) -> list[psutil.Process]:
        """The living children, in the order in which they were started."""
        return sorted(psutil.Process(self.pid).children(), key=lambda child: child.create_time())

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def freeze(self, *, tree: bool = False) -> None:
        self._signal(signal.SIGSTOP, tree=tree)

    def thaw(self, *, tree: bool = False) -> None:
        self._signal(signal.SIGCONT, tree=tree)

    def restart(self, *, timeout: float = 30.0) -> None:
        """TERM, wait for the end, start again under the same name and log."""
        self.terminate()
        self.wait(timeout=timeout)
        self.start()

    def wait(self, *, timeout: float = 30.0) -> int:
        """Wait for the end; return the exit status, negative for a signal."""
        wait_until(
            lambda: not self.alive,
            f"the end of {self.name} (process {self.pid})",
            timeout=timeout,
            saw=self.last_words,
        )
        if self.popen is None or self.popen.returncode is None:
            raise AssertionError(f"{self.name} has not ended")
        return self.popen.returncode

    def wait_for_output(self, text: str, *, count: int = 1, timeout: float = 30.0) -> None:
        """Wait until the log holds `text` at least `count` times, or the process has died."""
        wait_until(
            lambda: self.output.count(text) >= count or not self.alive,
            f"{text!r} ({count} times) in the log of {self.name}",
            timeout=timeout,
            saw=self.last_words,
        )
        if self.output.count(text) < count:
            raise AssertionError(f"{self.name} died before it said {text!r}:\n{self.last_words()}")

    def end(self) -> None:
        """Kill what is left of it and of its process group, and wait until that is dead."""
        if self.popen is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()
            # A process that was killed lives on until it gets its turn on a busy machine.
            wait_until(lambda: not self._group(), f"the end of the group of {self.name}")

    def _group(self) -> list[psutil.Process]:
        """What lives in its process group."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getpgid(process.pid) == self.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def _signal(self, number: signal.Signals, *, tree: bool = False) -> None:
        process = psutil.Process(self.pid)
        for target in [process, *(process.children(recursive=True) if tree else [])]:
            target.send_signal(number)

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self.output.splitlines()[-20:])


def marked(value: str) -> list[psutil.Process]:
    """The living processes whose environment carries the marker with this value."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARKER) == value:
                found.append(process)
    return found


def end_all(processes: Sequence[psutil.Process]) -> None:
    """Kill processes, also frozen ones, and wait for their end."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=10)
