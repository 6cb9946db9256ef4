"""One prefixed, coloured line an event, from the log files of all programs."""

import os
import sys
from pathlib import Path
from typing import TextIO

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class Output:
    """Prints `name | line`; colour only on a terminal, and not where NO_COLOR is set.

    Reference: https://no-color.org
    """

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self.stream = stream
        self.coloured = stream.isatty() and not os.environ.get("NO_COLOR")
        self.colours: dict[str, int] = {}
        self.width = 15

    def line(self, name: str, text: str) -> None:
        self.width = max(self.width, len(name))
        prefix = f"{name:<{self.width}} |"
        if self.coloured:
            colour = self.colours.setdefault(name, _COLOURS[len(self.colours) % len(_COLOURS)])
            prefix = f"\033[{colour}m{prefix}\033[0m"
        print(prefix, text, file=self.stream, flush=True)


class Tail:
    """What was appended to a log file since the last look, in whole lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        self.rest = b""

    def lines(self) -> list[str]:
        try:
            with self.path.open("rb") as file:
                # Supervisor rotates a log by starting a new one under the old name.
                if file.seek(0, os.SEEK_END) < self.position:
                    self.position = 0
                file.seek(self.position)
                added = file.read()
        except FileNotFoundError:
            return []
        self.position += len(added)
        *whole, self.rest = (self.rest + added).split(b"\n")
        return [line.decode(errors="replace").rstrip() for line in whole]
