"""`make benchmark B=dispatch`: what our `delay()` costs beside Celery's own `delay_on_commit`.

Each sends a task from a transaction with one INSERT, on real PostgreSQL and a real broker, in turns
within one process, so that both meet the same noise. The figure is the ratio of the medians.
"""

import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

TRANSACTIONS = 5000
BAR = 1.05


def main() -> None:
    from project import end_once
    from reliable.testing.processes import MARKER
    from reliable.testing.servers import Servers

    end_once()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        servers = Servers(Path(directory) / "servers", marker=uuid.uuid4().hex)
        servers.start()
        try:
            servers.postgresql.create_database("measured")
            os.environ.update(
                {
                    "DJANGO_SETTINGS_MODULE": "config.settings",
                    "ENV_FILE": os.devnull,
                    "SECRET_KEY": uuid.uuid4().hex * 2,
                    "DATABASE_URL": servers.postgresql.url("measured"),
                    "BROKER_URL": servers.broker.broker_url(0),
                    "CACHE_URL": servers.cache.cache_url(),
                    "EMAIL_URL": "console://",
                    MARKER: uuid.uuid4().hex,
                }
            )
            measure()
        finally:
            servers.stop()


def measure() -> None:
    import django

    django.setup()
    from celery import current_app
    from celery.contrib.django.task import DjangoTask
    from django.db import connection, transaction

    @current_app.task(name="ours", shared=False)  # type: ignore[untyped-decorator]
    def ours(number: int) -> None: ...

    @current_app.task(  # type: ignore[untyped-decorator]
        name="celerys", base=DjangoTask, shared=False
    )
    def celerys(number: int) -> None: ...

    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE orders (number integer)")

    def seconds(send: Callable[[int], object]) -> float:
        begun = time.perf_counter()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("INSERT INTO orders VALUES (1)")
            send(1)
        return time.perf_counter() - begun

    contestants = {"celery": celerys.delay_on_commit, "ours": ours.delay}
    measured: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(TRANSACTIONS):
        for name in sorted(contestants, reverse=bool(number % 2)):
            measured[name].append(seconds(contestants[name]))
    medians = {name: statistics.median(values[100:]) for name, values in measured.items()}
    ratio = medians["ours"] / medians["celery"]
    for name, median in medians.items():
        print(f"{name:<8} {median * 1e6:7.0f} µs for a transaction with one INSERT and one task")
    print(f"ratio    {ratio:7.3f}  bar {BAR}: {'met' if ratio <= BAR else 'MISSED'}")
    sys.exit(ratio > BAR)


if __name__ == "__main__":
    if "--inside" in sys.argv:
        main()
    else:
        from project import run

        sys.exit(run(Path(__file__), "--inside"))
