import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from celery import current_app
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError
from kombu.exceptions import OperationalError

from reliable import startup
from reliable.jobs import times
from reliable.jobs.operations import person
from reliable.jobs.report import printable
from reliable.jobs.schedule import health, operations, report
from reliable.jobs.schedule.status import statuses
from reliable.jobs.selection import text
from reliable.jobs.times import Refused

FOUND, REFUSED = 1, 2

_HELP = {
    "list": "each entry with its last and next tick, and how many were missed",
    "pause": "let an entry tick no more",
    "resume": "let it go on with its next tick",
    "run": "call an entry's task once, now, although it is paused",
}


class Command(BaseCommand):
    help = (
        "Look at the schedule, pause and resume its entries, run one now. Exit status: 0; 1 if"
        " `list` has found an entry that is overdue, or no beat that lives; 2 if something was"
        " refused before anything was changed, or a server failed."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        subparsers = parser.add_subparsers(dest="operation", required=True, metavar="OPERATION")
        for name, what in _HELP.items():
            each = subparsers.add_parser(name, help=what, description=f"{what}.".capitalize())
            each.add_argument("--json", action="store_true", help="for machines")
            if name != "list":
                each.add_argument("entry")
                each.add_argument("--by", metavar="NAME", help="default: the user")

    def handle(self, *args: Any, **options: Any) -> None:
        startup.load_tasks(current_app)
        try:
            getattr(self, f"_{options['operation']}")(options)
        except Refused as refused:
            raise CommandError(str(refused), returncode=REFUSED) from refused
        except DatabaseError as error:
            raise CommandError(f"The database says: {error}".strip(), returncode=REFUSED) from error
        except OperationalError as error:
            raise CommandError(f"The broker says: {error}".strip(), returncode=REFUSED) from error

    def _list(self, options: dict[str, Any]) -> None:
        found, beat = statuses(), health.last_beat()
        if options["json"]:
            known = beat and beat._asdict()
            self._json({"beat": known, "entries": [asdict(status) for status in found]})
        else:
            self._lines(report.schedule(found, beat))
        if report.silent(beat) or any(status.overdue_since for status in found):
            raise SystemExit(FOUND)

    def _pause(self, options: dict[str, Any]) -> None:
        entry = options["entry"]
        since = operations.pause(entry, by=_by(options))
        self._say(
            options,
            {"entry": entry, "paused": True, "since": since},
            f"The entry {entry} is paused since {times.local(since)}."
            f" To go on: manage.py schedule resume {entry}",
        )

    def _resume(self, options: dict[str, Any]) -> None:
        entry = options["entry"]
        was = operations.resume(entry, by=_by(options))
        self._say(
            options,
            {"entry": entry, "paused": False, "was_paused_since": was},
            f"The entry {entry} goes on with its next tick; it was paused since {times.local(was)}."
            if was
            else f"The entry {entry} was not paused.",
        )

    def _run(self, options: dict[str, Any]) -> None:
        entry = options["entry"]
        started = operations.run_now(entry, by=_by(options))
        self._say(
            options,
            {"entry": entry, **asdict(started)},
            f"The entry {entry} runs as job {started.job}."
            f" To follow it: manage.py jobs show {started.job}"
            if started.job
            else f"The entry {entry} was sent as task {started.task_id}.",
        )

    def _say(self, options: dict[str, Any], answer: dict[str, Any], sentence: str) -> None:
        if options["json"]:
            self._json(answer)
        else:
            self._lines(iter([sentence]))

    def _json(self, found: Any) -> None:
        self.stdout.write(json.dumps(found, indent=2, cls=DjangoJSONEncoder))

    def _lines(self, lines: Iterator[str]) -> None:
        for line in lines:
            self.stdout.write(printable(line))


def _by(options: dict[str, Any]) -> str:
    return text("--by", options["by"]) if options["by"] else person()
