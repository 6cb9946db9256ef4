import getpass
import json
import os
import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error

from reliable.probes import mutes, table
from reliable.probes.health import Health, health
from reliable.probes.states import State

WELL, LATE, FAILING, INTERRUPTED = 0, 1, 2, 130

# Seconds.
_PROGRESS_AFTER = _PROGRESS_EVERY = 2.0


class Command(BaseCommand):
    help = (
        "Say whether every queue moves, and which link of the chain is broken. With --wait: the"
        " gate of a deploy. Exit status: 0 if all is well; 1 if something is late, or not known"
        " yet; 2 if something does not answer, the gate was not passed, or the database failed;"
        " 130 after Ctrl-C."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="for machines")
        parser.add_argument("--watch", action="store_true", help="again every 2 s, until Ctrl-C")
        parser.add_argument(
            "--wait",
            type=float,
            metavar="SECONDS",
            help="ask every queue, and wait for so long until each was answered",
        )
        parser.add_argument(
            "--release", metavar="ID", default="", help="with --wait: by a worker of this release"
        )
        parser.add_argument(
            "--mute",
            type=float,
            metavar="SECONDS",
            help=f"tell nobody for so long, {mutes.LONGEST} at most, then what still fails",
        )
        parser.add_argument(
            "--test-alarms", action="store_true", help="send a test to whoever is told of alarms"
        )
        parser.add_argument("--unmute", action="store_true", help="tell again at once")
        parser.add_argument("--why", metavar="TEXT", default="", help="with --mute")
        parser.add_argument("--by", metavar="NAME", default="", help="default: the user")

    def handle(self, *args: Any, **options: Any) -> None:
        if problem := _contradiction(options):
            raise CommandError(problem, returncode=FAILING)
        try:
            if options["test_alarms"]:
                self._test_alarms()
            elif options["mute"] is not None or options["unmute"]:
                self._mute(options)
            elif options["wait"] is not None:
                self._gate(options)
            elif options["watch"]:
                self._watch(options)
            elif status := self._show(health(), options):
                raise SystemExit(status)
        except Error as error:
            raise CommandError(f"The database says: {error}".strip(), returncode=FAILING) from error
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None

    def _test_alarms(self) -> None:
        from reliable.probes.alarms.duty import trial

        found = trial()
        for outlet, why in found.items():
            self.stdout.write(f"{outlet}: {why or 'sent'}")
        if not found:
            raise CommandError(
                "Nobody is told of alarms: RELIABLE_ALARMS names nobody.", returncode=FAILING
            )
        if any(found.values()):
            raise CommandError("Not every outlet took the test.", returncode=FAILING)

    def _mute(self, options: dict[str, Any]) -> None:
        by = options["by"] or _person()
        if options["unmute"]:
            ended = mutes.unmute(by=by)
            self.stdout.write("Alarms are told again." if ended else "Nothing was muted.")
            return
        try:
            mute = mutes.mute(options["mute"], by=by, why=options["why"])
        except ValueError as error:
            raise CommandError(f"--mute: {error}", returncode=FAILING) from error
        self.stdout.write(f"Nobody is told anything until {mute.until:%H:%M:%S} UTC.")

    def _show(self, how: Health, options: dict[str, Any]) -> int:
        if options["json"]:
            self.stdout.write(json.dumps(how.document(), indent=None if options["watch"] else 2))
        else:
            self.stdout.write("\n".join([*table.lines(how), *_muted()]))
        if how.failing:
            return FAILING
        return WELL if how.status == State.OK else LATE

    def _watch(self, options: dict[str, Any]) -> None:
        while True:
            if sys.stdout.isatty() and not options["json"]:
                self.stdout.write("\033[H\033[2J", ending="")
            self._show(health(), options)
            self.stdout.flush()
            time.sleep(_PROGRESS_EVERY)

    def _gate(self, options: dict[str, Any]) -> None:
        # Not above: only the gate speaks to the broker.
        from reliable.probes.gate import Gate, Missing

        began = time.monotonic()
        next_word = began + _PROGRESS_AFTER

        def progress(missing: list[Missing]) -> None:
            nonlocal next_word
            if time.monotonic() >= next_word:
                names = ", ".join(each.name for each in missing)
                self.stderr.write(f"{time.monotonic() - began:.0f} s: waiting for {names}")
                next_word = time.monotonic() + _PROGRESS_EVERY

        missing = Gate(options["release"]).wait(options["wait"], progress)
        took = time.monotonic() - began
        if options["json"]:
            found = [{"name": name, "hop": str(hop), "why": why} for name, hop, why in missing]
            answer = {"passed": not missing, "seconds": round(took, 1), "missing": found}
            self.stdout.write(json.dumps(answer, indent=2))
        elif missing:
            self.stdout.write("\n".join(f"{each.hop}: {each.why}." for each in missing))
        else:
            by = f" by release {options['release']}" if options["release"] else ""
            self.stdout.write(f"Every queue was answered{by}, after {took:.1f} s.")
        if missing:
            names = ", ".join(each.name for each in missing)
            raise CommandError(
                f"The gate was not passed in {options['wait']:g} s: {names}.", returncode=FAILING
            )


def _contradiction(options: dict[str, Any]) -> str:
    """What does not go together, in a sentence; empty if all does."""
    actions = [
        name
        for name in ("wait", "watch", "mute", "unmute", "test_alarms")
        if options[name] is not None and options[name] is not False
    ]
    if len(actions) > 1:
        return f"{' and '.join(f'--{each}' for each in actions).replace('_', '-')}: one at a time."
    if options["release"] and options["wait"] is None:
        return "--release needs --wait SECONDS."
    if options["wait"] is not None and options["wait"] <= 0:
        return "--wait takes seconds, for example 60."
    if options["why"] and options["mute"] is None:
        return "--why needs --mute SECONDS."
    return ""


def _muted() -> list[str]:
    mute = mutes.muted()
    if mute is None:
        return []
    why = f" ({mute.why})" if mute.why else ""
    return ["", f"Alarms are muted until {mute.until:%H:%M:%S} UTC by {mute.by}{why}."]


def _person() -> str:
    if name := os.environ.get("SUDO_USER"):
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "manage.py"
