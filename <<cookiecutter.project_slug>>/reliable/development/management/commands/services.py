import sys
from typing import Any

from django.core.management.base import BaseCommand

from reliable.development.runner import Runner


class Command(BaseCommand):
    help = (
        "Run PostgreSQL and Valkey alone, for manage.py, an IDE or one program in the foreground."
    )
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(Runner(port=0, with_programs=False).run())
