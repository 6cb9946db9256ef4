import secrets
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from accounts.models import User


class Command(BaseCommand):
    help = (
        "Create an administrator, or give one a new password; it is printed once and kept nowhere."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--username", default="admin")

    def handle(self, *args: Any, **options: Any) -> None:
        password = secrets.token_urlsafe(12)
        user, created = User.objects.get_or_create(username=options["username"])
        user.is_active = user.is_staff = user.is_superuser = True
        user.set_password(password)
        user.save()
        done = "Created" if created else "New password for"
        self.stdout.write(f"{done} the administrator {user.username}, password: {password}")
        self.stdout.write("It is shown this once. Change it at /admin/password_change/.")
