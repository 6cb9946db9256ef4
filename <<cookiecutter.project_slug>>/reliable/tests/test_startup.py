"""No process starts while a task is routed to a queue that nobody declared."""

import pytest
from django.conf import settings

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


def test_make_dev_stays_and_starts_the_rest_when_the_mistake_is_mended(mistaken: Checkout) -> None:
    dev = mistaken.start("dev")
    try:
        dev.wait_for_output("not started: ", timeout=60)
        dev.wait_for_output("the site is at")
        assert "is routed to the queue 'typo'" in dev.output
        tasks = mistaken.directory / "accounts" / "tasks.py"
        tasks.write_text(tasks.read_text().removesuffix(TASK))
        dev.wait_for_output(" ready.", count=len(settings.QUEUES))
        dev.wait_for_output("Booting worker")
    finally:
        dev.terminate()
        assert dev.wait(timeout=60) == 0
