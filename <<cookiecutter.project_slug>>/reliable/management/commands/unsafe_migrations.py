from typing import Any

from django.core.management.base import BaseCommand
from django_migration_linter import MigrationLinter


class Command(BaseCommand):
    help = (
        "Name the migrations which are not applied, and would break the release that runs beside"
        " them: a column that goes while its code still asks for it, one that must be filled by"
        " code which does not know it. Exit status: 1 if there is one."
    )
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        # Not the linter's own command: it reads pyproject.toml with a parser that ours breaks.
        linter = MigrationLinter(
            no_cache=True, only_unapplied_migrations=True, quiet=["ok", "ignore"]
        )
        linter.lint_all_migrations()
        if linter.has_errors:
            self.stdout.write(
                "Split such a change over deploys: first add what is new and let the code do"
                " without what is old; take that away when no release needs it any more."
            )
            raise SystemExit(1)
        self.stdout.write("No migration that is not applied breaks the release beside it.")
