"""`make benchmark B=probes`: what probes cost a worker; how long its health and metrics take.

The cost is the processor time that a worker's processes use with probes minus that without, each
over some minutes in which nothing else is to be done, as a share of the time that passed.
"""

import os
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

SECONDS = 120.0
JOBS = 1_000_000
REQUESTS = 2_000
COST_BAR = 1.0
SCRAPES = 300
HEALTH_BAR = 20.0
METRICS_BAR = 100.0

_WITHOUT = """
INSTALLED_APPS = [each for each in INSTALLED_APPS if each != "reliable.probes"]
CELERY_BEAT_SCHEDULE = {}
"""

_FILL = """
INSERT INTO reliable_job (id, task, queue, run_at, state, finished_at)
SELECT gen_random_uuid(), 'shop.tasks.ship_order', 'mail', now() - interval '1 hour',
    (ARRAY['waiting', 'waiting', 'succeeded', 'failed'])[number %% 4 + 1],
    CASE WHEN number %% 4 < 2 THEN NULL ELSE now() END
FROM generate_series(1, %(jobs)s) AS number
"""


def main() -> None:
    from project import end_once

    end_once()
    with tempfile.TemporaryDirectory(prefix="measured-") as directory:
        met = _measure(Path(directory))
    sys.exit(not met)


def _measure(directory: Path) -> bool:
    os.environ.update(
        {
            "ENV_FILE": os.devnull,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "SECRET_KEY": uuid.uuid4().hex * 2,
            "ALLOWED_HOSTS": "127.0.0.1",
            "DATABASE_URL": f"postgresql://app@/app?host={directory}",
            "BROKER_URL": f"redis+socket://{directory}/broker.sock?virtual_host=0",
            "CACHE_URL": f"unix://{directory}/cache.sock?db=0",
            "EMAIL_URL": "console://",
            "STATIC_ROOT": str(directory / "static"),
            "RUN_DIR": str(directory),
            "LOG_DIR": str(directory),
        }
    )
    import django

    django.setup()
    from django.core.management import call_command
    from reliable.testing.servers import Servers
    from reliable.testing.system import System, connected_to

    servers = Servers(directory / "servers", marker="benchmark")
    servers.start()
    try:
        servers.postgresql.create_database("app")
        with connected_to(servers, "app"):
            call_command("migrate", verbosity=0)
            system = System(
                servers,
                database="app",
                broker_database=0,
                directory=directory,
                static_root=directory / "static",
                marker="benchmark",
            )
            (directory / "static").mkdir()
            try:
                with system.used_by_this_process():
                    # Not `and`: both are to be seen.
                    met = [_cost(system), _health(system)]
                return all(met)
            finally:
                system.close()
    finally:
        servers.stop()


def _cost(system: Any) -> bool:
    used = {}
    for kind, text in (("without", _WITHOUT), ("with", "")):
        system.settings(text)
        processes = [system.worker("mail", release=kind), system.beat(release=kind)]
        _settle()
        used[kind] = _processor_time(processes[0])
        for process in reversed(processes):
            process.terminate()
            process.wait()
    cost = (used["with"] - used["without"]) / SECONDS * 100
    for kind, seconds in used.items():
        share = seconds / SECONDS * 100
        print(f"{kind:<8} probes: a worker with 2 slots used {share:5.2f} % of a core")
    print(f"cost     {cost:5.2f} % of a worker's time, bar {COST_BAR:g} %: {_said(cost, COST_BAR)}")
    return cost <= COST_BAR


def _settle() -> None:
    """Past the imports of a new process."""
    time.sleep(10)


def _processor_time(worker: Any) -> float:
    """Seconds that the worker and its children use in SECONDS."""
    before = _times(worker)
    time.sleep(SECONDS)
    return _times(worker) - before


def _times(worker: Any) -> float:
    import psutil

    parent = psutil.Process(worker.pid)
    found = [parent, *parent.children(recursive=True)]
    return sum(each.cpu_times().user + each.cpu_times().system for each in found)


def _health(system: Any) -> bool:
    from django.db import connection
    from reliable.probes.models import Target
    from reliable.testing.waiting import wait_until

    system.settings("")
    program = system.layout("health").worker("mail")
    system.start(program).wait_for_output(" ready.")
    system.beat(release="health")
    system.web(release="health")
    answered = Target.objects.filter(name="mail", returned__gt=0)
    wait_until(answered.exists, "an answer of the worker", timeout=60)
    with connection.cursor() as cursor:
        cursor.execute(_FILL, {"jobs": JOBS})
        cursor.execute("VACUUM ANALYZE reliable_job")
    # Not `and`: both are to be seen.
    met = [
        _answers(system, "/health/queues", REQUESTS, {200, 503}, HEALTH_BAR),
        _answers(system, "/metrics", SCRAPES, {200}, METRICS_BAR),
    ]
    return all(met)


def _answers(system: Any, path: str, requests: int, statuses: set[int], bar: float) -> bool:
    durations = []
    for _ in range(requests):
        begun = time.perf_counter()
        status = system.get(path).status
        durations.append((time.perf_counter() - begun) * 1000)
        if status not in statuses:
            sys.exit(f"error: {path} answered {status}.")
    durations.sort()
    p99 = durations[int(len(durations) * 0.99)]
    print(
        f"{path} with {JOBS:,} jobs: median {statistics.median(durations):.1f} ms, p99"
        f" {p99:.1f} ms, bar {bar:g} ms: {_said(p99, bar)}"
    )
    return p99 <= bar


def _said(value: float, bar: float) -> str:
    return "met" if value <= bar else "MISSED"


if __name__ == "__main__":
    if "--inside" in sys.argv:
        main()
    else:
        from project import run

        sys.exit(run(Path(__file__), "--inside"))
