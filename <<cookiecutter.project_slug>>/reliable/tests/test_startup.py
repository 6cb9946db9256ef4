"""No process starts while a task is routed to a queue that nobody declared."""

from collections.abc import Iterator

import pytest
from django.conf import settings

from reliable.testing.checkout import Checkout

TASK = '''

@shared_task(queue="typo")
def routed_to_nowhere() -> None:
    """Nobody would run it."""
'''


@pytest.fixture
def mistaken(checkout: Checkout) -> Iterator[Checkout]:
    tasks = checkout.directory / "accounts" / "tasks.py"
    good = tasks.read_text()
    tasks.write_text(good + TASK)
    yield checkout
    tasks.write_text(good)


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


@pytest.mark.parametrize("when", ["is routed to the queue 'typo'", "the site is at"])
def test_make_dev_stays_and_starts_the_rest_when_the_mistake_is_mended(
    mistaken: Checkout, when: str
) -> None:
    """Also when it is mended as soon as it is shown, while the others still start."""
    dev = mistaken.start("dev")
    try:
        dev.wait_for_output(when, timeout=60)
        tasks = mistaken.directory / "accounts" / "tasks.py"
        tasks.write_text(tasks.read_text().removesuffix(TASK))
        dev.wait_for_output(" ready.", count=len(settings.QUEUES), timeout=60)
        dev.wait_for_output("Booting worker")
        assert "is routed to the queue 'typo'" in dev.output
        assert "not started: " in dev.output
    finally:
        dev.terminate()
        assert dev.wait(timeout=60) == 0
