"""A customer is charged once, whatever becomes of the provider's answer and of our commit."""

import socket
import threading
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from reliable.jobs.models import Job
from reliable.testing.run_jobs import run_jobs
from reliable.testing.system import System
from reliable.testing.waiting import wait_until
from shop import payments, services, tasks
from shop.models import Order, Payment, Product
from shop.tests.provider import DROP, ERROR, Provider


@pytest.fixture
def order(product: Product) -> Order:
    return services.place_order(product, 2, "ada@example.com")


def _later() -> int:
    """Run what is due by tomorrow, retries among it."""
    return run_jobs(at=timezone.now() + timedelta(days=1), raise_errors=False)


def test_the_provider_charges_the_total_once_and_the_payment_names_its_charge(
    order: Order, provider: Provider
) -> None:
    run_jobs()

    [(key, amount)] = provider.charges.items()
    assert amount == order.total
    assert Payment.objects.get().reference == f"charge-{key}"
    assert key == str(Job.objects.get(task="shop.tasks.charge_order").pk)


@pytest.mark.parametrize("trouble", [ERROR, DROP])
def test_an_attempt_that_fails_is_repeated_with_the_same_key_and_charges_once(
    order: Order, provider: Provider, trouble: str
) -> None:
    provider.troubles = [trouble, trouble]

    _later()

    order.refresh_from_db()
    assert order.finished
    assert len(provider.keys) == 3
    assert list(provider.charges) == list(set(provider.keys))
    assert Payment.objects.count() == 1


def test_an_answer_that_takes_too_long_is_asked_for_again(
    order: Order, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payments, "TIMEOUT", 0.2)
    answer = threading.Event()
    provider.troubles = [lambda: answer.wait(60)]
    with pytest.raises(OSError, match="timed out"):
        run_jobs()
    answer.set()

    _later()

    assert len(provider.charges) == Payment.objects.count() == 1


def test_a_provider_that_is_away_for_good_leaves_the_charge_among_the_failed_jobs(
    order: Order, settings: Settings
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        settings.PAYMENT_URL = f"http://127.0.0.1:{nobody.getsockname()[1]}"

    _later()

    order.refresh_from_db()
    assert order.state == Order.State.PLACED
    job = Job.objects.get()
    assert (job.state, job.attempt) == ("failed", job.max_attempts)


def test_an_order_has_one_charge_at_a_time_so_that_it_has_one_key(
    order: Order, provider: Provider
) -> None:
    again = tasks.charge_order.delay(order.pk)
    _later()
    tasks.charge_order.delay(order.pk)
    _later()

    assert not again.created
    assert len(provider.charges) == Payment.objects.count() == 1


def test_without_a_provider_an_order_counts_as_paid_and_the_log_says_that_nobody_was_charged(
    order: Order, caplog: pytest.LogCaptureFixture
) -> None:
    run_jobs()

    assert Payment.objects.get().reference.startswith("pretended-")
    assert "nobody was charged" in caplog.text


# --- With real processes -------------------------------------------------------------------------


def test_a_charge_whose_commit_was_lost_is_made_once(system: System, provider: Provider) -> None:
    system.environment["PAYMENT_URL"] = provider.url
    system.relay()
    database = system.database_proxy()
    system.worker("critical")
    # Between the charge and its answer: the worker learns of the charge, and cannot write it down.
    provider.troubles = [database.cut]

    _is_charged_once(provider)


def test_a_charge_whose_process_was_killed_is_made_once(system: System, provider: Provider) -> None:
    system.environment["PAYMENT_URL"] = provider.url
    system.relay()
    worker = system.worker("critical", concurrency=1)
    provider.troubles = [worker.children()[0].kill]

    _is_charged_once(provider)


def _is_charged_once(provider: Provider) -> None:
    order = services.place_order(Product.objects.get(slug="tea"), 1, "ada@example.com")
    wait_until(Payment.objects.exists, "the payment", timeout=60)
    assert len(provider.keys) == 2
    assert provider.charges == {provider.keys[0]: order.total}
    assert Payment.objects.get().reference == f"charge-{provider.keys[0]}"
