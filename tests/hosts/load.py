"""Load on a site: visitors whose requests send tasks, and the count of what became of each."""

import http.client
import itertools
import json
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

from hosts.fleet import Host

# Seconds that a visitor waits.
PATIENCE = 20
# Requests a second; each sends five short tasks, and some a long one.
RATE = 10
SHORT = {"short_durable": 3, "short_plain": 2}


@dataclass(frozen=True)
class Answer:
    """What a visitor saw. `at`: seconds since the load began; error: empty if it was a 200."""

    at: float
    host: str
    seconds: float
    release: str
    error: str


class Visitors:
    """Ask hosts in turn, on a new connection each time, at a fixed rate whatever they answer."""

    def __init__(
        self,
        hosts: Sequence[Host],
        domain: str,
        rate: float = RATE,
        each: Mapping[str, float] = SHORT,
        long: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        """`long`: kind of a long task to its length and to how often it is sent, in seconds."""
        self.hosts, self.domain, self.rate, self.each = hosts, domain, rate, each
        self.long = dict(long or {})
        self.answers: list[Answer] = []
        self._began = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Let the last visitors have their answers."""
        self._ending.set()
        self._thread.join()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    @property
    def failed(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.error]

    def _run(self) -> None:
        due = dict.fromkeys(self.long, 0.0)
        with ThreadPoolExecutor(64) as pool:
            for number, host in enumerate(itertools.cycle(self.hosts)):
                asked: dict[str, float] = dict(self.each)
                for kind, (seconds, every) in self.long.items():
                    if self.elapsed >= due[kind]:
                        due[kind] += every
                        asked[kind] = seconds
                pool.submit(self._visit, host, asked)
                if self._ending.wait(max(0, (number + 1) / self.rate - self.elapsed)):
                    return

    def _visit(self, host: Host, asked: Mapping[str, float]) -> None:
        at = self.elapsed
        release, error = "", ""
        try:
            release = ask(host, self.domain, asked)["release"]
        except (OSError, http.client.HTTPException, ValueError) as problem:
            error = f"{type(problem).__name__}: {problem}"
        self.answers.append(Answer(at, host.name, self.elapsed - at, release, error))


def ask(host: Host, domain: str, asked: Mapping[str, float]) -> dict[str, Any]:
    """Send tasks through a host's nginx. Raises ValueError for an answer that is no 200."""
    connection = _Connection(domain, host.address)
    try:
        connection.request("GET", f"/drill?{urlencode(asked)}")
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise ValueError(f"{answer.status} {body[:200]!r}")
        found: dict[str, Any] = json.loads(body)
        return found
    finally:
        connection.close()


# Of one context, since making it costs more than a visit; without authorities, since the test made
# the certificate: that nginx shows it is another test's promise.
_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_TLS.check_hostname = False
_TLS.verify_mode = ssl.CERT_NONE


class _Connection(http.client.HTTPSConnection):
    """To the site by its name, at one host's address."""

    def __init__(self, name: str, address: str) -> None:
        super().__init__(name, timeout=PATIENCE, context=_TLS)
        self._address = address

    def connect(self) -> None:
        plain = socket.create_connection((self._address, 443), self.timeout)
        self.sock = _TLS.wrap_socket(plain, server_hostname=self.host)


@dataclass(frozen=True)
class Count:
    """What became of the tasks of one kind."""

    kind: str
    sent: int
    ended: int
    # Ended more than once; begun more than once; begun by one release and ended by another.
    doubled: int
    repeated: int
    moved: int
    # Runs that began and did not end, however often the task ran again.
    killed: int

    @property
    def lost(self) -> int:
        return self.sent - self.ended


_COUNT = """
SELECT kind, count(*), count(*) FILTER (WHERE ended > 0), count(*) FILTER (WHERE ended > 1),
    count(*) FILTER (WHERE begun > 1), count(*) FILTER (WHERE ended > 0 AND releases > 1),
    sum(greatest(0, begun - ended))
FROM (
    SELECT task, min(kind) FILTER (WHERE event = 'sent') AS kind,
        count(*) FILTER (WHERE event = 'ended') AS ended,
        count(*) FILTER (WHERE event = 'begun') AS begun,
        count(DISTINCT release) FILTER (WHERE event IN ('begun', 'ended')) AS releases
    FROM drill_effect GROUP BY task
    HAVING count(*) FILTER (WHERE event = 'sent') > 0
) AS each
GROUP BY kind ORDER BY kind
"""


def query(data: Host, database: str, sql: str) -> list[list[str]]:
    """Ask the host's PostgreSQL, as its administrator."""
    command = ("psql", "--no-psqlrc", "--tuples-only", "--no-align", "--field-separator=|")
    output = data.run(*command, "--dbname", database, "--command", sql, user="postgres").stdout
    return [line.split("|") for line in output.splitlines() if line]


def counts(data: Host, database: str) -> dict[str, Count]:
    """Count what became of every task that was sent, by kind."""
    rows = query(data, database, " ".join(_COUNT.split()))
    return {kind: Count(kind, *map(int, numbers)) for kind, *numbers in rows}


def settled(data: Host, database: str, seconds: float) -> dict[str, Count]:
    """Wait until every task has ended, or no more ended for `seconds`; count."""
    before, since = counts(data, database), time.monotonic()
    while any(count.lost for count in before.values()) and time.monotonic() - since < seconds:
        time.sleep(1)
        now = counts(data, database)
        if now != before:
            before, since = now, time.monotonic()
    return before
