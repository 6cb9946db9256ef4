from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.conf import settings as project
from django.core import mail
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from pytest_django import Settings

from reliable.jobs.models import Job
from reliable.queues import DEFAULT_QUEUE
from reliable.testing.run_jobs import run_jobs
from shop import services, tasks
from shop.models import Order, Payment, Product


@pytest.fixture
def order(product: Product) -> Order:
    return services.place_order(product, 2, "ada@example.com")


def test_an_order_takes_its_goods_from_stock_and_fixes_its_price(product: Product) -> None:
    order = services.place_order(product, 2, "ada@example.com")

    product.refresh_from_db()
    assert product.stock == 1
    assert (order.total, order.state) == (2500, Order.State.PLACED)


def test_nothing_changes_when_more_is_ordered_than_there_is(product: Product) -> None:
    with pytest.raises(services.OutOfStock):
        services.place_order(product, 4, "ada@example.com")

    product.refresh_from_db()
    assert product.stock == 3
    assert not Order.objects.exists()
    assert not Job.objects.exists()


def test_the_database_refuses_an_order_of_nothing(product: Product) -> None:
    with pytest.raises(IntegrityError, match="shop_order_quantity"):
        services.place_order(product, 0, "ada@example.com")


def test_a_rolled_back_order_is_never_charged(product: Product) -> None:
    with transaction.atomic():
        services.place_order(product, 1, "ada@example.com")
        transaction.set_rollback(True)

    assert run_jobs() == 0
    assert not Order.objects.exists()


def test_a_committed_order_is_charged_receipted_and_shipped(order: Order) -> None:
    assert run_jobs() == 3

    order.refresh_from_db()
    assert order.finished
    assert order.state == Order.State.SHIPPED
    assert [message.to for message in mail.outbox] == [["ada@example.com"]]


def test_an_order_charged_twice_is_paid_once_and_followed_up_once(order: Order) -> None:
    services.charge(order.pk, key="a")
    services.charge(order.pk, key="a")

    assert Payment.objects.get().amount == order.total
    for task in (tasks.email_receipt, tasks.ship_order):
        assert Job.objects.filter(task=task.name).count() == 1


def test_a_receipt_asked_for_twice_is_sent_once_and_names_the_payment(order: Order) -> None:
    services.charge(order.pk, key="a")

    tasks.email_receipt(order.pk)
    tasks.email_receipt(order.pk)

    [receipt] = mail.outbox
    assert "€25.00" in receipt.body
    assert Payment.objects.get().reference in receipt.body


@pytest.mark.django_db(transaction=True)
def test_runs_at_the_same_time_charge_once_and_send_one_receipt(product: Product) -> None:
    order = Order.objects.create(product=product, quantity=1, total=1250, email="a@example.com")

    _run_at_once(lambda: services.charge(order.pk, key="a"))
    assert Payment.objects.count() == 1

    _run_at_once(lambda: services.send_receipt(order.pk))
    assert len(mail.outbox) == 1


def test_no_receipt_is_sent_for_an_order_that_nobody_paid(order: Order) -> None:
    tasks.email_receipt(order.pk)

    assert not mail.outbox


def test_a_receipt_that_the_mail_server_did_not_take_is_sent_at_the_next_attempt(
    order: Order, settings: Settings
) -> None:
    working = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1  # nobody listens

    with pytest.raises(OSError, match="refused"):
        run_jobs()

    order.refresh_from_db()
    assert order.receipt_sent_at is None
    settings.EMAIL_BACKEND = working
    run_jobs(at=timezone.now() + timedelta(hours=1))
    order.refresh_from_db()
    assert order.finished
    assert len(mail.outbox) == 1


def test_a_parcel_leaves_once_and_only_when_paid(order: Order) -> None:
    tasks.ship_order(order.pk)
    order.refresh_from_db()
    assert order.shipped_at is None

    services.charge(order.pk, key="a")
    tasks.ship_order(order.pk)
    order.refresh_from_db()
    first = order.shipped_at
    tasks.ship_order(order.pk)
    order.refresh_from_db()
    assert first is not None
    assert order.shipped_at == first


def test_the_report_counts_paid_orders_alone(
    order: Order, caplog: pytest.LogCaptureFixture
) -> None:
    services.charge(order.pk, key="a")
    services.place_order(order.product, 1, "bob@example.com")

    report = services.sales_report()
    assert services.Sales("Whisk", orders=1, revenue=2500) in report
    assert report == sorted(report)
    with caplog.at_level("INFO"):
        tasks.report_sales()
    assert "Whisk: 1 orders, 2500 cents" in caplog.text


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        (tasks.charge_order, "critical"),
        (tasks.email_receipt, "mail"),
        (tasks.report_sales, "slow"),
        (tasks.ship_order, DEFAULT_QUEUE),
    ],
)
def test_each_task_goes_to_the_queue_that_its_name_says(task: Any, queue: str) -> None:
    route = current_app.amqp.router.route({}, task.name)

    assert route["queue"].name == queue
    assert queue in project.QUEUES


def _run_at_once(service: Callable[[], None]) -> None:
    def run(_: int) -> None:
        try:
            service()
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(8)))
