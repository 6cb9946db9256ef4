"""`make benchmark B=admin`: the admin's pages with a million jobs, and a retry of 100,000.

A million jobs, a tenth of them failed in 42 groups, in a PostgreSQL that keeps its fsync, under
gunicorn with the settings of production. Each page is fetched ten times through its web process;
the slowest counts. Then all failed jobs are retried as a browser does it, slice by slice, beside a
relay: an urgent job of an empty queue is enqueued every 0.1 s, and how long the relay took to
publish it is measured.
"""

import argparse
import os
import re
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

ROWS = 1_000_000
PAGE_BAR, RETRY_BAR, RELAY_BAR = 300.0, 60.0, 1.0
FETCHES = 10
JOBS = "/admin/reliable_jobs/job/"
OPERATIONS = "/admin/reliable_probes/target/"

FILL = """
INSERT INTO reliable_job (
    id, task, queue, args, state, run_at, created_at, finished_at, started_at, error, exception,
    place, attempt, claim_no, tags
)
SELECT
    (
        lpad(to_hex((extract(epoch FROM now() - n * interval '1 second') * 1000)::bigint), 12, '0')
        || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15)
    )::uuid,
    (array['shop.tasks.ship', 'shop.tasks.charge', 'shop.tasks.email_receipt', 'gone'])[1 + n %% 4],
    (array['default', 'mail', 'slow'])[1 + n %% 3],
    jsonb_build_array(n), state, now() - n * interval '1 second', now() - n * interval '1 second',
    CASE WHEN state NOT IN ('waiting', 'held') THEN now() - (n - 1) * interval '1 second' END,
    now() - n * interval '1 second',
    CASE WHEN state = 'failed' THEN 'ConnectionError: warehouse ' || n || ' is away' ELSE '' END,
    CASE WHEN state = 'failed' THEN 'Error' || n %% 7 ELSE '' END,
    CASE WHEN state = 'failed' THEN 'shop.services.step' || n %% 3 ELSE '' END,
    CASE WHEN state = 'failed' THEN 5 ELSE 0 END, 5,
    CASE WHEN n %% 1000 = 0 THEN array['import'] ELSE array[]::text[] END
FROM (
    SELECT n, CASE
        WHEN n %% 10 = 9 THEN 'failed' WHEN n %% 25 = 3 THEN 'waiting'
        WHEN n %% 100 = 2 THEN 'cancelled' WHEN n %% 1000 = 6 THEN 'expired'
        WHEN n = %(rows)s - 8 THEN 'held' ELSE 'succeeded'
    END AS state
    FROM generate_series(1, %(rows)s) AS n
) AS made
"""

# Two days of probes of each list, as they are kept.
FILL_PROBES = """
WITH lists AS (
    INSERT INTO reliable_probe_target (kind, name, state)
    SELECT 'queue', name, 'ok' FROM unnest(%(lists)s::text[]) AS name RETURNING id
)
INSERT INTO reliable_probe_sample (target_id, at, latency)
SELECT id, now() - n * interval '15 seconds', 0.01 + n %% 97 / 1000.0
FROM lists, generate_series(1, 11520) AS n
"""

ADDRESSES = {
    "all jobs": JOBS,
    **{
        state: f"{JOBS}?state={state}"
        for state in ("waiting", "running", "held", "succeeded", "failed", "cancelled", "expired")
    },
    "a task": f"{JOBS}?task=shop.tasks.ship",
    "failed, a task": f"{JOBS}?state=failed&task=shop.tasks.ship",
    "failed, a queue, 24 h": f"{JOBS}?state=failed&queue=mail&since=24h",
    "failed, a task without": f"{JOBS}?state=failed&task=none",
    "waiting, a queue without": f"{JOBS}?state=waiting&queue=none",
    "until five days ago": f"{JOBS}?until=5d",
    "a tag": f"{JOBS}?tag=import",
    "a tag that is nowhere": f"{JOBS}?tag=nowhere",
    "an error that is nowhere": f"{JOBS}?error=nowhere",
    "all filters at once": f"{JOBS}?state=failed&task=gone&queue=x&tag=y&error=z&since=9d&until=1h",
    "an argument": f"{JOBS}?q=98765",
    "an argument that is nowhere": f"{JOBS}?q=nowhere",
    "an id's beginning": f"{JOBS}?q=01a2",
    "failures": f"{JOBS}groups/",
    "failures of 24 h": f"{JOBS}groups/?since=24h",
    "changes": f"{JOBS}changes/",
    "queues": "/admin/reliable_jobs/queue/",
    "operations": OPERATIONS,
    "operations, polled": f"{OPERATIONS}live/",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="make benchmark B=admin")
    parser.add_argument("measures", nargs="*", choices=["pages", "retry", []], metavar="measure")
    parser.add_argument("--tiny", action="store_true", help="counts that only show that it runs")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        from project import run

        return run(Path(__file__), "--inside", *sys.argv[1:])
    measures = options.measures or ["pages", "retry"]
    return measured(measures, ROWS // 100 if options.tiny else ROWS)


def measured(measures: list[str], rows: int) -> int:
    """Start what is measured; return the exit status: 1 if a bar was missed."""
    from project import end_once

    end_once()
    marker = uuid.uuid4().hex
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="measure-")))
        os.environ.update(
            {
                "ENV_FILE": os.devnull,
                "SECRET_KEY": marker * 2,
                "ALLOWED_HOSTS": "127.0.0.1",
                "DATABASE_URL": f"postgresql://app@/app?host={directory}",
                "BROKER_URL": f"redis+socket://{directory}/broker.sock?virtual_host=0",
                "CACHE_URL": f"unix://{directory}/cache.sock?db=0",
                "EMAIL_URL": "console://",
                "STATIC_ROOT": str(directory / "static"),
                "RUN_DIR": str(directory),
                "LOG_DIR": str(directory),
                "DJANGO_SETTINGS_MODULE": "config.settings",
            }
        )
        import django
        from django.core.management import call_command

        django.setup()
        call_command("collectstatic", interactive=False, verbosity=0)
        from reliable.testing.servers import Servers
        from reliable.testing.system import System

        servers = Servers(
            directory, marker=marker, postgresql={"fsync": "on", "full_page_writes": "on"}
        )
        stack.callback(servers.stop)
        servers.start()
        servers.postgresql.create_database("app")
        system = System(
            servers,
            database="app",
            broker_database=1,
            directory=directory,
            static_root=directory / "static",
            marker=marker,
        )
        stack.enter_context(system.used_by_this_process())
        stack.callback(system.close)
        call_command("migrate", verbosity=0)
        fill(rows)
        system.web()
        site = Site(system.port)
        missed = False
        if "pages" in measures:
            missed |= pages(site)
        if "retry" in measures:
            system.relay()
            with servers.broker.client(1) as broker:
                missed |= retry(
                    site, servers.postgresql.url("app"), lambda: broker.delete("critical.jobs")
                )
        return int(missed)


def fill(rows: int) -> None:
    from django.contrib.auth import get_user_model
    from django.db import connection
    from reliable import queues

    print(f"{rows:,} jobs are made ...", flush=True)
    with connection.cursor() as cursor:
        cursor.execute(FILL, {"rows": rows})
        cursor.execute("VACUUM ANALYZE reliable_job")
        lists = queues.read_by_workers(queues.declared())
        cursor.execute(FILL_PROBES, {"lists": lists})
        cursor.execute("VACUUM ANALYZE reliable_probe_sample")
    get_user_model().objects.create_superuser("ada", password="ada")  # noqa: S106


class Site:
    """A browser's side of HTTP: cookies, tokens and redirects."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}
        form = self.get("/admin/login/")
        self.post("/admin/login/", form, username="ada", password="ada", next=JOBS)  # noqa: S106
        if "sessionid" not in self.cookies:
            sys.exit("error: the login was refused.")

    def get(self, address: str) -> str:
        return self._ask("GET", address)[1]

    def post(self, address: str, page: str, **fields: str) -> tuple[str, str]:
        """Send a page's form; return where it led to, and that page."""
        found = re.findall(r'name="csrfmiddlewaretoken"\s+value="([^"]*)"', page)
        body = urlencode({"csrfmiddlewaretoken": found[0], **fields})
        where, _ = self._ask("POST", address, body)
        return where, self.get(where)

    def _ask(self, method: str, address: str, body: str = "") -> tuple[str, str]:
        headers = {
            "X-Forwarded-Proto": "https",
            "Referer": f"https://127.0.0.1:{self.port}/",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, address, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status >= HTTPStatus.BAD_REQUEST:
            sys.exit(f"error: {method} {address} was answered with {answer.status}.")
        for cookie in answer.headers.get_all("Set-Cookie") or ():
            name, value = cookie.split(";")[0].split("=", 1)
            self.cookies[name] = value
        connection.close()
        return answer.headers.get("Location", ""), text


def pages(site: Site) -> bool:
    """Each page ten times; return whether one took too long."""
    site.get(JOBS)  # imports tasks and reads templates
    missed = False
    for name, address in ADDRESSES.items():
        taken = []
        for _ in range(FETCHES):
            begun = time.perf_counter()
            site.get(address)
            taken.append((time.perf_counter() - begun) * 1000)
        late = max(taken) > PAGE_BAR
        missed |= late
        print(
            f"{name:<28} {sorted(taken)[FETCHES // 2]:5.0f} ms, at most {max(taken):4.0f} ms,"
            f" bar {PAGE_BAR:.0f}: {'MISSED' if late else 'met'}",
            flush=True,
        )
    return missed


def retry(site: Site, database: str, empty: Callable[[], object]) -> bool:
    """Retry all failed jobs beside a relay; return whether it took too long, or held the relay."""
    probe = Probe(database, empty)
    probe.start()
    try:
        time.sleep(2)  # what the relay needs when nothing else happens
        quiet = probe.longest()
        begun = time.perf_counter()
        preview = site.get(f"{JOBS}preview/?operation=retry&state=failed")
        where, page = site.post(
            f"{JOBS}begin/", preview, operation="retry", state="failed", why="measured"
        )
        while "so far." in page:
            where, page = site.post(f"{where}continue/", page)
        seconds = time.perf_counter() - begun
        busy = probe.longest()
    finally:
        probe.stop()
    number = int(re.findall(r"([\d,]+) jobs? retried", page)[0].replace(",", ""))
    late, held = seconds > RETRY_BAR, busy > RELAY_BAR
    print(
        f"{number:,} failed jobs were retried in {seconds:.1f} s, bar {RETRY_BAR:.0f} s:", end=" "
    )
    print("MISSED" if late else "met")
    print(
        f"The relay took a new job after {busy:.2f} s at most ({quiet:.2f} s before), bar"
        f" {RELAY_BAR:.0f} s: {'MISSED' if held else 'met'}"
    )
    return late or held


class Probe(threading.Thread):
    """Enqueues an urgent job every 0.1 s, and measures when the relay has published it.

    empty: take the messages of its queue away, as workers would.
    """

    def __init__(self, database: str, empty: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        import psycopg

        self.connection = psycopg.connect(database, autocommit=True)
        self.empty = empty
        self.taken: list[float] = []
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.1):
            job = uuid.uuid4()
            begun = time.perf_counter()
            self.connection.execute(
                "WITH made AS (INSERT INTO reliable_job (id, task, queue, priority) VALUES"
                " (%s, 'probe', 'critical', 9)) SELECT pg_notify('reliable_jobs', 'critical')",
                [job],
            )
            while not self.ended.wait(0.005):
                found = self.connection.execute(
                    "DELETE FROM reliable_job WHERE id = %s AND published_at IS NOT NULL"
                    " RETURNING id",
                    [job],
                ).fetchone()
                if found:
                    break
            self.taken.append(time.perf_counter() - begun)
            self.empty()

    def longest(self) -> float:
        taken, self.taken = self.taken, []
        if not taken:
            sys.exit("error: the relay has published no probe.")
        return max(taken)

    def stop(self) -> None:
        self.ended.set()
        self.join()
        self.connection.close()


if __name__ == "__main__":
    sys.exit(main())
