"""A process that has imported the libraries once, and forks the project's processes from itself.

    python -m reliable.development.preload SOCKET

Starting Django and Celery means reading 1,200 modules: 2 s of processor time for each of six
processes. Forked from here a process has only the project's own code to read (0.2 s), and shares
its memory with the others. For development alone: a process in production stands by itself.

A client connects to the socket and sends one line of JSON, {"module", "arguments", "directory",
"environment"}, with its standard input, output and error beside it. It may then send lines with a
signal's number, and gets one line with the child's wait status at the end. A child whose client
has gone is killed. The idea is that of multiprocessing's forkserver, which serves one program only.
"""

import contextlib
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

# What the project's processes import, none of which reads the settings.
LIBRARIES = (
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.fixups.django",
    "celery.worker.consumer",
    "django.contrib.admin.options",
    "django.contrib.staticfiles.storage",
    "django.core.cache.backends.redis",
    "django.core.management.commands.check",
    "django.core.wsgi",
    "django.db.backends.postgresql.base",
    "django.db.migrations.autodetector",
    "django.db.migrations.executor",
    "django.test.signals",
    "django.views.debug",
    "environs",
    "gunicorn.app.wsgiapp",
    "gunicorn.workers.gthread",
    "kombu.transport.redis",
    "whitenoise.storage",
    "yaml",
)


class Server:
    """Accepts clients, forks a child for each, and reports how it ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        path.chmod(0o600)
        self.listener.listen()
        self.wakeup, self.wakeup_end = socket.socketpair()
        self.wakeup_end.setblocking(False)  # noqa: FBT003 - positional only
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.wakeup, selectors.EVENT_READ)
        self.children: dict[int, socket.socket] = {}
        self.stopping = False

    def run(self) -> None:
        """Serve until TERM or INT; what still runs then is ended too."""
        signal.set_wakeup_fd(self.wakeup_end.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        while not (self.stopping and not self.children):
            for key, _ in self.selector.select():
                if key.fileobj is self.listener:
                    self.accept()
                elif key.fileobj is self.wakeup:
                    self.wakeup.recv(64)
                    self.reap()
                elif isinstance(key.fileobj, socket.socket):
                    self.relay(key.fileobj)
        self.path.unlink(missing_ok=True)

    def stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True
        for pid in self.children:
            # It may come while one that has ended is being reaped.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def accept(self) -> None:
        client, _ = self.listener.accept()
        line, descriptors, _, _ = socket.recv_fds(client, 65536, 3)
        while not line.endswith(b"\n"):
            line += client.recv(65536)
        pid = os.fork()
        if pid == 0:
            self.leave(client)
            become(json.loads(line), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        self.children[pid] = client
        self.selector.register(client, selectors.EVENT_READ)

    def leave(self, client: socket.socket) -> None:
        """Drop in the child what belongs to the server."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.selector.close()
        for end in (self.listener, self.wakeup, self.wakeup_end, client, *self.children.values()):
            end.close()

    def relay(self, client: socket.socket) -> None:
        """Pass a client's signals on; kill the child of a client that has gone."""
        pid = next((pid for pid, each in self.children.items() if each is client), None)
        if pid is None:
            return  # its child was reaped by what the same look saw
        try:
            numbers = [int(line) for line in client.recv(4096).split()]
        except ConnectionError:
            numbers = []
        if not numbers:
            self.selector.unregister(client)
        for number in numbers or [signal.SIGKILL]:
            os.kill(pid, number)

    def reap(self) -> None:
        for pid, status in ended_children():
            client = self.children.pop(pid)
            with contextlib.suppress(OSError):
                client.sendall(b"%d\n" % status)
            with contextlib.suppress(KeyError):
                self.selector.unregister(client)
            client.close()


def ended_children() -> list[tuple[int, int]]:
    """Process ids and wait statuses of the children that have ended."""
    ended = []
    with contextlib.suppress(ChildProcessError):
        while (child := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            ended.append(child)
    return ended


def become(request: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Run the module as `python -m` would, in a process group of its own."""
    os.setsid()
    for standard, descriptor in enumerate(descriptors):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path.insert(0, request["directory"])
    sys.argv = [request["module"], *request["arguments"]]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    sys.exit(0)


def main() -> None:
    server = Server(Path(sys.argv[1]))
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    server.run()


if __name__ == "__main__":
    main()
