"""What tasks of a test did, written by the processes that did it and read by the test."""

import json
import os
import time
from pathlib import Path
from typing import NamedTuple


class Event(NamedTuple):
    """`what` happened to `subject` at `time` (seconds, of the machine's monotonic clock)."""

    what: str
    subject: str
    time: float
    pid: int


class Events:
    """A file that several processes append to, one JSON line an event."""

    VARIABLE = "RELIABLE_TEST_EVENTS"

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(self, what: str, subject: str) -> None:
        line = json.dumps([what, subject, time.monotonic(), os.getpid()]) + "\n"
        # One write in append mode: lines of several processes do not mix.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def all(self) -> list[Event]:
        if not self.path.exists():
            return []
        # The last line may be half written.
        lines = self.path.read_text().rpartition("\n")[0].splitlines()
        return [Event(*json.loads(line)) for line in lines]

    def of(self, what: str) -> list[str]:
        """The subjects to which something happened, in order, with repetitions."""
        return [event.subject for event in self.all() if event.what == what]


def here() -> Events:
    """The events of the test that this process works for."""
    return Events(Path(os.environ[Events.VARIABLE]))
