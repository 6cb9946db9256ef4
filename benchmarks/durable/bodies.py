"""What tasks do, whoever runs them."""

from django.db import connection
from reliable.testing.events import here

CREATE = "CREATE TABLE effects (number integer)"


def one_insert(number: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO effects VALUES (%s)", [number])


def note_start(name: str) -> None:
    """Write down that it starts, with the time of the machine's monotonic clock."""
    here().record("start", name)
