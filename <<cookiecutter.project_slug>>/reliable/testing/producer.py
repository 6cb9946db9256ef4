"""A program that buys without pause and is killed: each purchase is a row and a job, or neither.

    python -m reliable.testing.producer SEED

Its one child does the work. When that is killed there is another, with a connection of its own.
"""

import itertools
import os
import random
import sys

import django
from django.db import transaction

# Of all purchases, those that fail before their commit.
_FAIL = 0.3


def _buy(name: str, *, willing: bool) -> None:
    from django.db import connection

    from reliable.testing.jobs import effect

    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO purchase (name) VALUES (%s)", [name])
        effect.delay(name)
        transaction.set_rollback(not willing)


def main(seed: int) -> None:
    django.setup()
    for life in itertools.count():
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            continue
        decide = random.Random(f"{seed} {life}")  # noqa: S311
        for number in itertools.count():
            willing = decide.random() > _FAIL
            name = f"{life}.{number}{'' if willing else ' unwilling'}"
            _buy(name, willing=willing)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    main(int(sys.argv[1]))
