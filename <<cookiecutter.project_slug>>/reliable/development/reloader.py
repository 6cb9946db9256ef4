"""Run a Python module in a process forked by the preloader, and again from new code on SIGHUP.

    python -m reliable.development.reloader SOCKET [--overlap] celery --app config worker …

With `--overlap` the new process starts while the old one finishes its tasks; without it, for what
holds a port, after the old one has ended.
"""

import json
import os
import selectors
import signal
import socket
import sys
import time

_PRELOADER_DEADLINE = 30.0


class Reloader:
    """At most one current process, and older ones that are finishing; each has its connection."""

    def __init__(self, path: str, module: str, arguments: list[str], *, overlap: bool) -> None:
        self.path = path
        self.module = module
        self.arguments = arguments
        self.overlap = overlap
        self.current: socket.socket | None = None
        self.finishing: set[socket.socket] = set()
        self.stopping = False
        self.selector = selectors.DefaultSelector()

    def run(self) -> int:
        """Serve signals until TERM or INT has ended every process; return the exit status."""
        wakeup, wakeup_end = socket.socketpair()
        wakeup_end.setblocking(False)  # noqa: FBT003 - positional only
        signal.set_wakeup_fd(wakeup_end.fileno())
        for each in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: None)
        self.selector.register(wakeup, selectors.EVENT_READ)
        self.start()
        while not (self.stopping and not self.finishing):
            for key, _ in self.selector.select():
                if key.fileobj is wakeup:
                    for number in wakeup.recv(64):
                        self.handle(signal.Signals(number))
                elif isinstance(key.fileobj, socket.socket) and self.ended(key.fileobj):
                    return 1
        return 0

    def handle(self, number: signal.Signals) -> None:
        self.stopping = self.stopping or number != signal.SIGHUP
        self.retire()
        if not self.stopping and (self.overlap or not self.finishing):
            self.start()

    def start(self) -> None:
        request = {
            "module": self.module,
            "arguments": self.arguments,
            "directory": os.getcwd(),  # noqa: PTH109
            "environment": dict(os.environ),
        }
        connection = connect(self.path)
        socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], [0, 1, 2])
        self.selector.register(connection, selectors.EVENT_READ)
        self.current = connection

    def retire(self) -> None:
        """Ask the current process to end when its work is done."""
        if self.current is not None:
            self.current.sendall(b"%d\n" % signal.SIGTERM)
            self.finishing.add(self.current)
            self.current = None

    def ended(self, connection: socket.socket) -> bool:
        """Take note that a process ended; True if supervisor shall restart the whole program."""
        status = connection.recv(64)
        self.selector.unregister(connection)
        connection.close()
        if connection in self.finishing:
            self.finishing.discard(connection)
            if not self.stopping and not self.finishing and self.current is None:
                self.start()
            return False
        self.current = None
        if not status or os.WIFSIGNALED(int(status)):
            return True
        code = os.waitstatus_to_exitcode(int(status))
        print(f"ended with exit status {code}; the next save starts it again.", flush=True)  # noqa: T201
        return False


def connect(path: str) -> socket.socket:
    """Wait for the preloader, which listens at once but answers when it has read the libraries."""
    deadline = time.monotonic() + _PRELOADER_DEADLINE
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
        except OSError:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return connection


def main() -> int:
    path, *rest = sys.argv[1:]
    overlap = rest[0] == "--overlap"
    module, *arguments = rest[1:] if overlap else rest
    return Reloader(path, module, arguments, overlap=overlap).run()


if __name__ == "__main__":
    sys.exit(main())
