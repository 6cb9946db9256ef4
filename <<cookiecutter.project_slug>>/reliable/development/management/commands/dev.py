import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from reliable.development.runner import Runner, free_port


class Command(BaseCommand):
    help = "Run the whole project: PostgreSQL, Valkey, web, a worker a queue, beat; reload on save."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="of the site on 127.0.0.1")

    def handle(self, *args: Any, **options: Any) -> None:
        port = free_port(options["port"])
        if port != options["port"]:
            self.stdout.write(f"Port {options['port']} is taken: the site is on {port} instead.")
        sys.exit(Runner(port=port, with_programs=True).run())
