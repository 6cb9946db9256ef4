"""`make benchmark B=jobs`: durable tasks beside plain Celery tasks and beside other libraries.

`M=latency` measures one thing; `M="enqueue relay --tiny"` shows in a minute that the scripts work,
with figures that mean nothing. Contestants take turns within a run, so that they meet the same
noise; a figure is a ratio of medians. PostgreSQL keeps its fsync, the settings are those of
production, and both sides of a row log at INFO.
"""

import argparse
import sys
from pathlib import Path

MEASURES = ("enqueue", "latency", "relay", "execution", "peers", "batches", "backlog")

# Of no use but to be measured.
PEERS = (
    "django-celery-outbox==0.4.*",
    "procrastinate[django]==3.*",
    "django-tasks-db[compat]",
    "pgqueuer==1.*",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="make benchmark B=jobs")
    parser.add_argument("measures", nargs="*", choices=[*MEASURES, []], metavar="measure")
    parser.add_argument("--tiny", action="store_true", help="counts that only show that it runs")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        from project import run

        return run(Path(__file__), "--inside", *sys.argv[1:], packages=PEERS)

    from durable.stage import measured

    return measured(options.measures or MEASURES, tiny=options.tiny)


if __name__ == "__main__":
    sys.exit(main())
