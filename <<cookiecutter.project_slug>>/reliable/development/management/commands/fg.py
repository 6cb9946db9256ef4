import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from reliable.development import foreground


class Command(BaseCommand):
    help = "Run one program in the foreground, for breakpoint(): web, worker-QUEUE or beat."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("program", help="web, worker-mail, beat, …")

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(foreground.run(options["program"]))
