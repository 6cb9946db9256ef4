"""The shop's work that nobody waits for. A task fetches, calls a service, and does nothing else.

What a customer would miss is durable; a report that the next one replaces is not. Its name chooses
its queue, by the routes in config/queues.yml.
"""

import logging

from celery import shared_task

from reliable.jobs import current_job, durable_task

logger = logging.getLogger(__name__)


@durable_task(
    # It speaks to others: no transaction is open meanwhile, and none could undo what they did.
    atomic=False,
    # One job an order, so one key an order.
    unique="until_finished",
    # About five hours of a provider that is away; then it stands among the failed jobs.
    max_attempts=20,
)
def charge_order(order_id: int) -> None:
    """Charge an order. Twice: the provider knows the key, and answers with its first charge."""
    from shop.services import charge

    charge(order_id, key=current_job().idempotency_key)


@durable_task(
    atomic=False,
    # A refused connection, a timeout and each of smtplib's errors are all an OSError. Anything else
    # is a mistake of ours, which no repetition cures.
    retry_for=(OSError,),
    max_attempts=8,
    # Seconds before the second attempt, doubled with each; the wait is drawn from zero to that, so
    # that a mail server which comes back does not meet everybody at once.
    backoff=5,
)
def email_receipt(order_id: int) -> None:
    """E-mail the receipt. Twice: the second run finds it sent and sends nothing."""
    from shop.services import send_receipt

    send_receipt(order_id)


@durable_task
def ship_order(order_id: int) -> None:
    """Ship an order, in one transaction with the end of the job: its effects are there once."""
    from shop.services import ship

    ship(order_id)


@shared_task
def report_sales() -> None:
    """Log what each product has sold. Twice: the lines stand there twice, with newer numbers."""
    from shop.services import sales_report

    for sales in sales_report():
        logger.info("%s: %s orders, %s cents", *sales)
