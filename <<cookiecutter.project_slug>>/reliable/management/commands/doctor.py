import json
from typing import Any

from celery import current_app
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from reliable import queues
from reliable.checks import live, registration
from reliable.checks.findings import RULES, Finding, silenced

HEADINGS = {"E": "Tasks can be lost", "W": "Tasks can run twice, late or unseen"}


class Command(BaseCommand):
    help = (
        "Report what can lose tasks: settings, tasks, source, and the servers and workers that run"
        " now. Exit status: 2 if tasks can be lost, 1 if they can run twice or late, else 0."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="for machines")
        parser.add_argument(
            "--expect",
            type=int,
            metavar="N",
            help="workers; when all have answered, wait no longer",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.stderr.write("Asking servers and workers, which takes up to ten seconds ...")
        running = live.check(current_app, queues.declared(), options["expect"])
        found = [*registration.findings(current_app), *running]
        stand, silent = silenced(found, getattr(settings, "RELIABLE_SILENCED", {}))
        unchecked = []
        if registration.supervisor_path() is None:
            unchecked.append("the supervisor file: the setting SUPERVISOR_FILE names none")
        if options["json"]:
            report = {
                "findings": [_machine(finding) for finding in stand],
                "silenced": [_machine(finding) for finding in silent],
                "not_checked": unchecked,
            }
            self.stdout.write(json.dumps(report, indent=2))
        else:
            self._print(stand, silent, unchecked)
        severities = {finding.severity for finding in stand}
        raise SystemExit(2 if "E" in severities else 1 if "W" in severities else 0)

    def _print(self, stand: list[Finding], silent: list[Finding], unchecked: list[str]) -> None:
        for severity, heading in HEADINGS.items():
            group = [finding for finding in stand if finding.severity == severity]
            if group:
                self.stdout.write(f"{heading}: {len(group)}\n\n")
            for finding in sorted(group, key=lambda each: (each.id, each.place)):
                rule = RULES[finding.id]
                self.stdout.write(f"{finding.id}  {finding.place}")
                self.stdout.write(f"    {finding.what} {rule.consequence}")
                self.stdout.write(f"    {rule.cure}")
                self.stdout.write(f"    {rule.link}\n\n")
        for what in unchecked:
            self.stdout.write(f"Not checked: {what}.")
        self.stdout.write(f"{len(stand)} found, {len(silent)} silenced.")


def _machine(finding: Finding) -> dict[str, str]:
    rule = RULES[finding.id]
    return {
        "id": finding.id,
        "place": finding.place,
        "what": finding.what,
        "consequence": rule.consequence,
        "cure": rule.cure,
        "link": rule.link,
    }
