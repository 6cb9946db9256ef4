"""A payment provider on 127.0.0.1: a real HTTP server, which fails when it is told to."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ERROR = "answers 500, and charges nothing"
DROP = "charges, and hangs up"


class Provider:
    """POST /charges with an Idempotency-Key: a new key is charged, a known one gets its charge.

    troubles: what becomes of the next requests, one each: ERROR, DROP, or a function to be called
    between the charge and its answer. charges: cents by key. keys: of all requests, in order.
    """

    def __init__(self) -> None:
        self.charges: dict[str, int] = {}
        self.keys: list[str] = []
        self.troubles: list[str | Callable[[], Any]] = []
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()  # waits for requests that are being answered


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            key = self.headers["Idempotency-Key"]
            amount = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["amount"]
            with provider.lock:
                provider.keys.append(key)
                trouble = provider.troubles.pop(0) if provider.troubles else None
                if trouble != ERROR:
                    provider.charges.setdefault(key, amount)
            if callable(trouble):
                trouble()
            if trouble == ERROR:
                self.send_error(500)
            elif trouble != DROP:
                self._answer({"id": f"charge-{key}", "amount": provider.charges[key]})

        def _answer(self, charge: dict[str, Any]) -> None:
            body = json.dumps(charge).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
