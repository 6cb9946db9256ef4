import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, is_dataclass
from typing import Any

from celery import current_app
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError
from structlog.contextvars import bound_contextvars

from reliable import startup
from reliable.jobs import inflight, inspection, operations, report, stats, times
from reliable.jobs.operations import OPERATIONS, Operation
from reliable.jobs.selection import Selection, add_filters, job_id, parse, text
from reliable.jobs.times import Refused

FOUND, REFUSED, INTERRUPTED = 1, 2, 130

_PROGRESS_AFTER = _PROGRESS_EVERY = 2.0
_FIRST = 10
# Of a number that somebody can mean.
_DIGITS = 10

_HELP = {
    "list": "the newest jobs",
    "show": "one job in full: attempts with tracebacks, arguments but for secrets, its family",
    "retry": "let jobs wait again with all their attempts: failed ones, or by --state and --id"
    " cancelled and expired ones too",
    "discard": "take failed jobs out of the dead letters: they end as cancelled",
    "cancel": "end jobs that have not ended; one that runs is refused its commit",
    "pause": "let no job of a queue start; those that run come to their end",
    "resume": "let a paused queue's jobs start again",
    "limit": "let no job of a queue start while N run, over all hosts; none removes the limit",
    "stats": "how many of each task and state, what waits and runs, what did not succeed; how many"
    " ran, and how long they waited and took",
    "inflight": "unfinished jobs that this release cannot run: ask the new one before a deploy"
    " switches to it",
}


class Command(BaseCommand):
    help = (
        "Look at durable jobs, and change them. Exit status: 0; 1 if `inflight` has found jobs that"
        " this release cannot run; 2 if something was refused before anything was changed, or the"
        " database failed (the message says what was changed by then); 130 after Ctrl-C."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        subparsers = parser.add_subparsers(dest="operation", required=True, metavar="OPERATION")
        each = {}
        for name, what in _HELP.items():
            each[name] = subparsers.add_parser(name, help=what, description=f"{what}.".capitalize())
            each[name].add_argument("--json", action="store_true", help="for machines")
        for name in ("list", *OPERATIONS):
            add_filters(each[name])
        each["list"].add_argument("--limit", type=int, default=50, metavar="N")
        each["list"].add_argument("--before", metavar="ID", help="older than that: the next page")
        for name in OPERATIONS:
            each[name].add_argument("--all", action="store_true", help="needs no filter")
            each[name].add_argument(
                "--dry-run", action="store_true", help="say how many, show ten, change nothing"
            )
            if name != "retry":
                each[name].add_argument("--why", metavar="TEXT", help="kept as the job's error")
        each["show"].add_argument("id")
        for name in ("pause", "resume", "limit"):
            each[name].add_argument("queue")
            each[name].add_argument("--by", metavar="NAME", help="default: the user")
        each["pause"].add_argument("--why", metavar="TEXT", default="")
        each["limit"].add_argument("limit", metavar="N|none")
        each["stats"].add_argument(
            "--since", metavar="TIME", default="1d", help="what ran: 2026-01-31T18:30, or 1h, 7d"
        )
        end = each["pause"].add_mutually_exclusive_group()
        end.add_argument("--until", metavar="TIME", help="resume then")
        end.add_argument("--for", metavar="SECONDS", help="or 15m, 2h: resume after that")

    def handle(self, *args: Any, **options: Any) -> None:
        startup.load_tasks(current_app)
        name = options["operation"]
        try:
            if name in OPERATIONS:
                self._change(OPERATIONS[name], options)
            else:
                getattr(self, f"_{name}")(options)
        except Refused as refused:
            raise CommandError(str(refused), returncode=REFUSED) from refused
        except DatabaseError as error:
            raise CommandError(f"The database says: {error}".strip(), returncode=REFUSED) from error

    # --- Looking ---------------------------------------------------------------------------------

    def _list(self, options: dict[str, Any]) -> None:
        limit = options["limit"]
        if limit < 1:
            raise Refused(f"--limit {limit}: write a number from 1 on, for example 50.")
        before = job_id(options["before"]) if options["before"] else None
        found = inspection.listed(parse(options).jobs(), limit + 1, before)
        page, more = found[:limit], len(found) > limit
        if options["json"]:
            self._json({"jobs": page, "more": more})
        else:
            self._lines(report.page(page, more=more))

    def _show(self, options: dict[str, Any]) -> None:
        self._say(inspection.details(job_id(options["id"])), options, report.details)

    def _stats(self, options: dict[str, Any]) -> None:
        since = times.past("--since", options["since"])
        self._say(stats.stats(since), options, report.stats)

    def _inflight(self, options: dict[str, Any]) -> None:
        found = inflight.misfits()
        self._say(found, options, report.inflight)
        if found:
            raise SystemExit(FOUND)

    # --- Jobs ------------------------------------------------------------------------------------

    def _change(self, operation: Operation, options: dict[str, Any]) -> None:
        selection = parse(options, operation.name, operation.allowed)
        if bool(selection) == options["all"]:
            raise Refused(
                f"{operation.name} takes filters, or --all, which is every job that is"
                f" {' or '.join(operation.usual)}: {'not both' if selection else 'name one'}."
            )
        why = text("--why", options["why"]) if options.get("why") else ""
        reason = f"{operation.done} by {operations.person()}" + (f": {why}" if why else "")
        narrowed = operations.narrowed(operation, selection)
        others = operations.left_out(selection, narrowed)
        matched = narrowed.jobs().count()
        answer: dict[str, Any] = {
            "operation": operation.name,
            "dry_run": options["dry_run"],
            "matched": matched,
            "changed": 0,
            "left_out": others,
        }
        if options["dry_run"]:
            answer["first"] = inspection.listed(narrowed.jobs(), _FIRST)
        else:
            answer["changed"] = self._in_batches(operation, narrowed, matched, reason)
        if options["json"]:
            self._json(answer)
        else:
            self._lines(report.change(answer, operation.done))

    def _in_batches(
        self, operation: Operation, selection: Selection, matched: int, reason: str
    ) -> int:
        seen = changed = 0
        next_word = time.monotonic() + _PROGRESS_AFTER
        try:
            with bound_contextvars(by=operations.person()):
                for batch in operations.change(operation, selection, reason):
                    seen, changed = seen + batch.seen, changed + batch.changed
                    if time.monotonic() >= next_word:
                        self.stderr.write(f"{seen:,} of {matched:,} ...")
                        next_word = time.monotonic() + _PROGRESS_EVERY
        except (DatabaseError, KeyboardInterrupt) as error:
            what = str(error).strip() or "stopped"
            raise CommandError(
                f"{report.counted(changed)} {operation.done} of {matched:,}, then: {what}."
                " Say it again for the rest.",
                returncode=REFUSED if isinstance(error, DatabaseError) else INTERRUPTED,
            ) from error
        return changed

    # --- Queues ----------------------------------------------------------------------------------

    def _pause(self, options: dict[str, Any]) -> None:
        queue, by = options["queue"], _by(options)
        why = text("--why", options["why"]) if options["why"] else ""
        until = times.future("--until", options["until"]) if options["until"] else None
        seconds = times.seconds("--for", options["for"]) if options["for"] else None
        paused = operations.pause(queue, by=by, why=why, until=until, seconds=seconds)
        if options["json"]:
            self._json({"queue": queue, "paused": True, **paused._asdict()})
            return
        end = f"until {times.local(paused.until)}" if paused.until else "until somebody resumes it"
        go_on = f"To go on: manage.py jobs resume {queue}"
        self._lines(
            [
                f"The queue {queue} is paused since {times.local(paused.since)}, {end}.",
                f"No job of it starts; those that run come to their end. {go_on}",
            ]
        )

    def _resume(self, options: dict[str, Any]) -> None:
        queue = options["queue"]
        was = operations.resume(queue, by=_by(options))
        if options["json"]:
            self._json({"queue": queue, "paused": False, "was_paused_since": was and was.since})
        elif was is None:
            self._lines([f"The queue {queue} was not paused."])
        else:
            self._lines(
                [f"The queue {queue} goes on; it was paused since {times.local(was.since)}."]
            )

    def _limit(self, options: dict[str, Any]) -> None:
        queue, limit = options["queue"], _number_or_none(options["limit"])
        before = operations.limit(queue, limit=limit, by=_by(options))
        if options["json"]:
            self._json({"queue": queue, "limit": limit, "before": before})
            return
        was = "It had none." if before is None else f"It was {before:,}."
        if limit is None:
            self._lines([f"The queue {queue} has no limit. {was}"])
        else:
            self._lines(
                [
                    f"No job of the queue {queue} starts while {limit:,} run. {was}",
                    f"What runs comes to its end. To remove it: manage.py jobs limit {queue} none",
                ]
            )

    # --- Output ----------------------------------------------------------------------------------

    def _say(
        self, found: Any, options: dict[str, Any], lines: Callable[[Any], Iterable[str]]
    ) -> None:
        if options["json"]:
            self._json(found)
        else:
            self._lines(lines(found))

    def _json(self, found: Any) -> None:
        self.stdout.write(json.dumps(found, indent=2, cls=_Encoder))

    def _lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.stdout.write(report.printable(line))


class _Encoder(DjangoJSONEncoder):
    def default(self, o: Any) -> Any:
        return asdict(o) if is_dataclass(o) and not isinstance(o, type) else super().default(o)


def _number_or_none(value: str) -> int | None:
    if value == "none":
        return None
    if not (value.isascii() and value.isdecimal() and len(value) < _DIGITS):
        raise Refused(f"{value!r} is no limit; write a number of jobs, for example 3, or none.")
    return int(value)


def _by(options: dict[str, Any]) -> str:
    return text("--by", options["by"]) if options["by"] else operations.person()
