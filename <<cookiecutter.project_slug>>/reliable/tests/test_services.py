"""PostgreSQL and Valkey without the rest: what `make services` promises a developer."""

import pytest

from reliable.testing.checkout import Checkout
from reliable.testing.processes import MARKER, marked


def test_all_of_it_ends_on_term_and_the_data_is_there_again(checkout: Checkout) -> None:
    services = checkout.start("services")
    services.wait_for_output("ready in", timeout=60)
    assert checkout.manage("migrate").returncode == 0
    assert "password: " in checkout.manage("superuser").stdout
    services.terminate()
    assert services.wait(timeout=60) == 0
    assert marked(checkout.environment[MARKER]) == []

    services = checkout.start("services")
    services.wait_for_output("ready in", timeout=60)
    assert "New password for the administrator admin" in checkout.manage("superuser").stdout
    services.terminate()
    assert services.wait(timeout=60) == 0


@pytest.mark.parametrize("command", [["migrate"], ["shell", "-c", "pass"], ["fg", "web"]])
def test_one_sentence_says_that_the_services_are_down(
    checkout: Checkout, command: list[str]
) -> None:
    done = checkout.manage(*command)
    said = [line for line in done.stderr.splitlines() if line]
    assert len(said) == 1, done.stderr
    assert "`make services`" in said[0]
