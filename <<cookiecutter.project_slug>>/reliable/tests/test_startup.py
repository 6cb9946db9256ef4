"""No process starts while a task is routed to a queue that nobody declared."""

import pytest

from reliable.testing.checkout import Checkout

TASK = '''

@shared_task(queue="typo")
def routed_to_nowhere() -> None:
    """Nobody would run it."""
'''


@pytest.fixture(scope="module")
def mistaken(checkout: Checkout) -> Checkout:
    checkout.append("accounts/tasks.py", TASK)
    return checkout


@pytest.mark.parametrize(
    "command",
    [
        ["manage.py", "check"],
        ["-m", "celery", "--app", "config", "worker"],
        ["-m", "celery", "--app", "config", "beat", "--pidfile", ""],
        ["-m", "gunicorn", "config.wsgi", "--bind", "127.0.0.1:0", "--no-control-socket"],
    ],
    ids=["check", "worker", "beat", "web"],
)
def test_it_refuses_and_names_the_task_the_queue_and_the_declared_ones(
    mistaken: Checkout, command: list[str]
) -> None:
    done = mistaken.python(*command)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "accounts.tasks.routed_to_nowhere is routed to the queue 'typo'" in said
    assert "declared: critical, mail, slow, default" in said
