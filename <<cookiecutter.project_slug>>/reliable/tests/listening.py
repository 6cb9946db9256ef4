"""Servers on loopback that keep what they are told: HTTP, and SMTP as far as Django speaks it."""

import gzip
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Post(NamedTuple):
    """What somebody posted."""

    path: str
    text: str


class Listener:
    """Answers each POST with `status`, and with `location` as where to go."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.status = 200
        self.location = ""
        # Cleared: who posts waits.
        self.answers = threading.Event()
        self.answers.set()
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                told.answers.wait(30)
                told.posts.append(Post(self.path, body.decode()))
                self.send_response(told.status)
                self.send_header("Content-Length", "0")
                if told.location:
                    self.send_header("Location", told.location)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def paths(self) -> list[str]:
        return [post.path for post in self.posts]


class Mailbox:
    """Takes each message."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        told = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.say("220 ready")
                while line := self.rfile.readline().decode().strip():
                    match line.partition(" ")[0].upper():
                        case "DATA":
                            self.say("354 go on")
                            told.messages.append("".join(self.data()))
                            self.say("250 taken")
                        case "QUIT":
                            self.say("221 bye")
                            return
                        case _:
                            self.say("250 ok")

            def data(self) -> Iterator[str]:
                while (line := self.rfile.readline().decode()) not in {".\r\n", ""}:
                    yield line

            def say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[None]:
    """Serve in a thread until the block ends."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
