"""Which of the project's files were saved, and whether Python can read them."""

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

from watchfiles import watch

_RELOADED = {".py", ".html", ".txt", ".yml", ".toml"}


class Changes:
    """Watches the project's visible folders and files, and .env, in a thread of its own."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.saved: SimpleQueue[set[Path]] = SimpleQueue()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="changes", daemon=True)
        self.thread.start()

    def take(self) -> set[Path]:
        """The files saved since the last call."""
        taken: set[Path] = set()
        while True:
            try:
                taken |= self.saved.get_nowait()
            except Empty:
                return taken

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join()

    def _watch(self) -> None:
        # The virtual environment and .run hold thousands of files that nobody edits.
        watched = [path for path in self.project.iterdir() if not path.name.startswith(".")]
        environment = self.project / ".env"
        if environment.exists():
            watched.append(environment)
        for changes in watch(*watched, debounce=100, step=20, stop_event=self.stopping):
            paths = {Path(path) for _, path in changes}
            relevant = {path for path in paths if path.suffix in _RELOADED or path == environment}
            if relevant:
                self.saved.put(relevant)


def syntax_errors(paths: set[Path]) -> Iterator[SyntaxError]:
    """What keeps Python from reading the files; deleted files and other kinds are fine."""
    for path in sorted(paths):
        if path.suffix == ".py" and path.exists():
            try:
                compile(path.read_bytes(), str(path), "exec")
            except SyntaxError as error:
                yield error
