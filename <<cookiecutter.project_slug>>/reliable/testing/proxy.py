"""A TCP proxy in front of a broker or a database, to make the network fail.

The idea is Shopify's Toxiproxy (https://github.com/Shopify/toxiproxy); this one needs no binary.
"""

import contextlib
import selectors
import socket
import struct
import threading
from pathlib import Path

_CHUNK = 65536
# Closing with this option sends a reset instead of an orderly end.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Listens on 127.0.0.1:`port` and forwards each connection to a unix socket.

    One thread carries all bytes. `freeze` keeps connections open and moves nothing, like a host
    that hangs; `cut` resets the open ones and accepts new ones; `refuse` resets them and listens
    no more.
    """

    def __init__(self, upstream: Path) -> None:
        self.upstream = str(upstream)
        self.selector = selectors.DefaultSelector()
        self.peers: dict[socket.socket, socket.socket] = {}
        self.lock = threading.Lock()
        self.frozen = False
        self.closing = False
        self.listener = self._listen(0)
        self.port: int = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._carry, name="proxy", daemon=True)
        self.thread.start()

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False

    def cut(self) -> None:
        """Reset every open connection."""
        with self.lock:
            for end in list(self.peers):
                self._close(end, reset=True)

    def refuse(self) -> None:
        """Reset every open connection, and refuse new ones until `accept`."""
        with self.lock:
            self.selector.unregister(self.listener)
            self.listener.close()
        self.cut()

    def accept(self) -> None:
        """Listen again on the same port, after `refuse`."""
        with self.lock:
            self.listener = self._listen(self.port)

    def close(self) -> None:
        self.closing = True
        self.thread.join()
        with self.lock:
            for end in list(self.peers):
                self._close(end, reset=False)
            self.listener.close()
            self.selector.close()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        self.selector.register(listener, selectors.EVENT_READ)
        return listener

    def _carry(self) -> None:
        pause = threading.Event()
        while not self.closing:
            if self.frozen:
                pause.wait(0.02)
                continue
            ready = self.selector.select(timeout=0.02)
            with self.lock:
                for key, _ in ready:
                    if isinstance(key.fileobj, socket.socket) and not self.frozen:
                        self._serve(key.fileobj)

    def _serve(self, end: socket.socket) -> None:
        if end is self.listener:
            self._connect()
        elif end in self.peers:
            try:
                data = end.recv(_CHUNK)
                if data:
                    self.peers[end].sendall(data)
            except OSError:
                data = b""
            if not data:
                self._close(end, reset=False)

    def _connect(self) -> None:
        client, _ = self.listener.accept()
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(self.upstream)
        except OSError:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.close()
            server.close()
            return
        for one, other in ((client, server), (server, client)):
            self.peers[one] = other
            self.selector.register(one, selectors.EVENT_READ)

    def _close(self, end: socket.socket, *, reset: bool) -> None:
        other = self.peers.pop(end, None)
        if other is None:
            return
        self.peers.pop(other, None)
        for each in (end, other):
            self.selector.unregister(each)
            if reset and each.family == socket.AF_INET:
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            each.close()
