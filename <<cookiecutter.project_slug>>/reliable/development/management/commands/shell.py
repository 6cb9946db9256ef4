from typing import Any

from django.core.management.commands import shell

from reliable.development.services import explain_unreachable


class Command(shell.Command):
    """Django's shell, which says at once what it would otherwise say at the first query."""

    def handle(self, *args: Any, **options: Any) -> None:
        if problem := explain_unreachable():
            self.stderr.write(problem)
        super().handle(*args, **options)
