"""The shop's work that nobody waits for. A task fetches, calls a service, and does nothing else.

Its name chooses its queue, by the routes in config/queues.yml.
"""

import logging

from celery import shared_task

logger = logging.getLogger(__name__)


@shared_task
def charge_order(order_id: int) -> None:
    """Charge an order. Twice: the second run finds it paid and does nothing."""
    from shop.services import charge

    charge(order_id)


@shared_task(
    # A refused connection, a timeout and each of smtplib's errors are all an OSError.
    autoretry_for=(OSError,),
    max_retries=5,
    # Seconds before the first retry, doubled each time; jitter draws from zero to that, so that a
    # mail server which comes back does not meet everybody at once.
    retry_backoff=5,
    retry_backoff_max=600,
    retry_jitter=True,
)
def email_receipt(order_id: int) -> None:
    """E-mail the receipt. Twice: the second run finds it sent and sends nothing."""
    from shop.services import send_receipt

    send_receipt(order_id)


@shared_task
def ship_order(order_id: int) -> None:
    """Ship an order. Twice: the second run finds it shipped and does nothing."""
    from shop.services import ship

    ship(order_id)


@shared_task
def report_sales() -> None:
    """Log what each product has sold. Twice: the lines stand there twice, with newer numbers."""
    from shop.services import sales_report

    for sales in sales_report():
        logger.info("%s: %s orders, %s cents", *sales)
